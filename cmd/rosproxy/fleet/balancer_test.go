package fleet_test

import (
	"encoding/csv"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Where Debian has the balancers.
const (
	haproxyProgram = "/usr/sbin/haproxy"
	nginxProgram   = "/usr/sbin/nginx"
	nginxStream    = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

// recipe is the path of a file that testdata/README.md shows.
func recipe(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// haproxy is the real one, with the recipe and nothing else but a socket to
// ask it what it thinks.
type haproxy struct {
	t       *testing.T
	process *process
	socket  string
}

func startHAProxy(t *testing.T, h *host) *haproxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "ha") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &haproxy{t: t, socket: filepath.Join(dir, "s")}
	extra := filepath.Join(dir, "extra.cfg")
	if err := os.WriteFile(extra, []byte("global\n    stats socket "+b.socket+" level admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.process = h.start(t, "haproxy", haproxyProgram, "-db", "-f", recipe(t, "haproxy/haproxy.cfg"), "-f", extra)
	for _, server := range []string{"a", "b"} {
		b.await(server, "UP")
	}
	return b
}

// state is the server's line of HAProxy's statistics, by column.
func (b *haproxy) state(server string) map[string]string {
	b.t.Helper()
	c, err := net.Dial("unix", b.socket)
	if err != nil {
		return nil // starting
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if _, err := io.WriteString(c, "show stat\n"); err != nil {
		b.t.Fatalf("ask HAProxy: %v", err)
	}
	rows, err := csv.NewReader(c).ReadAll()
	if err != nil || len(rows) == 0 {
		b.t.Fatalf("ask HAProxy: %v, %d rows", err, len(rows))
	}
	for _, row := range rows {
		if row[1] == server {
			state := map[string]string{}
			for i, column := range rows[0] {
				state[strings.TrimPrefix(column, "# ")] = row[i]
			}
			return state
		}
	}
	return nil
}

// await waits until HAProxy thinks that of a server: UP, DOWN, DRAIN, NOLB
// and others, as its manual has them.
func (b *haproxy) await(server string, wants ...string) map[string]string {
	b.t.Helper()
	var last map[string]string
	defer func() {
		if b.t.Failed() {
			b.t.Logf("HAProxy on %s: %v", server, last)
		}
	}()
	eventually(b.t, "HAProxy to see "+server+" as "+strings.Join(wants, " or "), func() bool {
		b.process.mustRun()
		last = b.state(server)
		for _, want := range wants {
			if last["status"] == want || strings.HasPrefix(last["status"], want+" ") {
				return true
			}
		}
		return false
	})
	return last
}

// startNginx starts the real one, with the recipe.
func startNginx(t *testing.T, h *host) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "error.log")
	t.Cleanup(func() {
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("end of nginx's log:\n%s", tail(string(text), 4<<10))
		}
	})
	p := h.start(t, "nginx", nginxProgram, "-p", dir, "-e", log, "-c", recipe(t, "nginx/nginx.conf"),
		"-g", "daemon off; pid "+filepath.Join(dir, "pid")+"; error_log "+log+" warn;")
	eventually(t, "nginx", func() bool {
		p.mustRun()
		c, err := h.dial(t.Context(), h.ip+":"+proxyPort)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}
