package check

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// run runs the check with args and env.
func run(t *testing.T, args, env []string) (ok bool, out string) {
	t.Helper()
	_, c, err := config.Parse(append([]string{"check"}, args...), env, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var source discovery.Source
	if c.Static != nil {
		source, err = discovery.NewStatic(c.Static, c.Discovery.Labels, zerolog.Nop())
	} else {
		source, err = discovery.NewConsul(c.Discovery, zerolog.Nop())
	}
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	ok = Run(t.Context(), c, source, &b)
	return ok, b.String()
}

// checked runs the check with listeners that are free, and the default admin
// address replaced.
func checked(t *testing.T, args ...string) (ok bool, out string) {
	t.Helper()
	ok, out = run(t, append([]string{"--admin-listen=127.0.0.1:0", "--listen=default=127.0.0.1:0"}, args...), nil)
	for line := range strings.Lines(out) {
		if grade := strings.TrimSpace(line[:4]); grade != "ok" && grade != "warn" && grade != "FAIL" {
			t.Errorf("got line %q; want it to begin with a grade", line)
		}
	}
	if failed := strings.Contains(out, "FAIL"); failed == ok {
		t.Errorf("got %t with\n%s", ok, out)
	}
	return ok, out
}

// startConsul starts a double of Consul.
func startConsul(t *testing.T) *consultest.Server {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	return s
}

// tags are those of a master of the group default.
var tags = []string{"role=master", "label=default"}

func wantLine(t *testing.T, out, line string) {
	t.Helper()
	for got := range strings.Lines(out) {
		if strings.HasPrefix(got, line) {
			return
		}
	}
	t.Errorf("got\n%s\nwant a line that begins %q", out, line)
}

func TestCheckFindsConsulAndItsMaster(t *testing.T) {
	consul := startConsul(t)
	consul.Register(consultest.Service{ID: "sync-1", Name: "sync", Address: "10.0.0.1", Port: 7800, Tags: tags})
	ok, out := checked(t, "--consul-addr="+consul.Addr)
	if !ok {
		t.Errorf("got a failure; want none\n%s", out)
	}
	wantLine(t, out, "ok   configuration: listeners default")
	wantLine(t, out, "ok   consul "+consul.Addr)
	wantLine(t, out, "ok   master of default at consul "+consul.Addr+": 10.0.0.1:7800 (sync-1 on ")
	wantLine(t, out, "ok   listen default=127.0.0.1:0")
}

func TestCheckSaysWhatIsWrongWithConsul(t *testing.T) {
	consul := startConsul(t)
	ok, out := checked(t, "--consul-addr="+consul.Addr)
	if ok {
		t.Error("no master: got success; want a failure")
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+": none found")

	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "10.0.0.1", Port: 1, Tags: tags, Status: consultest.Warning})
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok {
		t.Error("a candidate whose check warns: got success; want a failure")
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+`: none whose checks pass: "a" on `)

	undo := consul.Inject(consultest.Denied())
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok || strings.Contains(out, "none found") {
		t.Errorf("denied: got %t\n%s\nwant a failure, and not that there is none", ok, out)
	}
	undo()

	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "10.0.0.1", Port: 1, Tags: tags},
		consultest.Service{ID: "b", Name: "sync", Address: "10.0.0.2", Port: 1, Tags: tags})
	if ok, out = checked(t, "--consul-addr="+consul.Addr); !ok {
		t.Errorf("two masters: got a failure; want none")
	}
	wantLine(t, out, "warn master of default at consul "+consul.Addr+": 2 claim to be it: 10.0.0.2:1 (b on ")

	consul.Stop()
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok {
		t.Errorf("unreachable: got success; want a failure")
	}
	wantLine(t, out, "FAIL consul at "+consul.Addr+" cannot be reached")
}

func TestCheckOpensNoListenerAndJudgesTheAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	missing := t.TempDir() + "/missing/a"
	ok, out := run(t, []string{
		"--static-master=127.0.0.1:1",
		"--listen=used=" + l.Addr().String(), "--listen=foreign=192.0.2.1:1", "--listen=unbound=:0",
		"--admin-listen=unix:" + missing, "--agent-check-listen=localhost:" + port,
	}, nil)
	if ok {
		t.Error("got success; want a failure")
	}
	wantLine(t, out, "warn listen used="+l.Addr().String()+": in use")
	wantLine(t, out, "FAIL listen foreign=192.0.2.1:1: bind: cannot assign requested address")
	wantLine(t, out, "ok   listen unbound=:0")
	wantLine(t, out, "FAIL admin listen unix:"+missing)
	wantLine(t, out, "warn agent check listen localhost:"+port+": in use")
	wantLine(t, out, "ok   master of used: 127.0.0.1:1 (static)")
}

func TestCheckHoldsMaxConnsAgainstTheLimit(t *testing.T) {
	const most = 16 << 20
	_, out := checked(t, "--static-master=127.0.0.1:1", fmt.Sprintf("--max-conns=%d", most))
	wantLine(t, out, fmt.Sprintf("FAIL open files: --max-conns %d is more than the limit of ", most))
}

func TestCheckWarnsOfATokenFileThatOthersRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, out := checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "ok   token file")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, out = checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "warn token file")
}

func TestCheckWarnsOfOddConfiguration(t *testing.T) {
	_, out := run(t, []string{"--static-master=127.0.0.1:1"}, []string{"ROSPROXY_DRAIN_GRASE=1s"})
	wantLine(t, out, "warn configuration: ROSPROXY_DRAIN_GRASE is set, but there is no such flag")
}
