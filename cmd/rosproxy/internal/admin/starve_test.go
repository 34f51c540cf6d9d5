package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 20 * time.Second

// startAt serves on a socket of the program with room for so many connections.
func startAt(t *testing.T, network, address string, conns int, serve func(context.Context, net.Listener) error) net.Addr {
	t.Helper()
	opened, err := new(listen.Inherited).Open(t.Context(), listen.Admin, network, address, conns)
	if err != nil {
		t.Fatal(err)
	}
	l := opened[0]
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: got %v; want nil", err)
		}
	})
	return l.Addr()
}

func dialTo(t *testing.T, at net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(at.Network(), at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// get sends a request on c and gives the answer's code; the connection stays.
func get(t *testing.T, c net.Conn, path string) int {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// TestConnectionsThatStayOpenKeepNobodyOut: kept ones, silent ones, and halves
// of requests, of each more than there is room for.
func TestConnectionsThatStayOpenKeepNobodyOut(t *testing.T) {
	a, _, _ := newAdmin(t)
	const room = 8
	at := startAt(t, "tcp", "127.0.0.1:0", room, a.Serve)
	for range 2 * room {
		get(t, dialTo(t, at), "/healthz")
	}
	for range 2 * room {
		dialTo(t, at)
	}
	for range 2 * room {
		_, _ = io.WriteString(dialTo(t, at), "GET /readyz HTTP/1.1\r\nHost: loc")
	}
	kept := dialTo(t, at)
	for range 3 {
		if got := get(t, kept, "/readyz"); got != 200 {
			t.Errorf("got %d; want 200", got)
		}
	}
}

// endless answers until it cannot be written any more, and counts how many do so at once.
type endless struct{ now, most atomic.Int64 }

func (e *endless) serve(w http.ResponseWriter, r *http.Request) {
	n := e.now.Add(1)
	defer e.now.Add(-1)
	for m := e.most.Load(); n > m && !e.most.CompareAndSwap(m, n); m = e.most.Load() {
	}
	piece := make([]byte, 64<<10)
	for {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

func TestReadersThatDoNotReadAreFewAndKeepNobodyOut(t *testing.T) {
	var e endless
	b := newBounded(e.serve)
	s := &http.Server{Handler: b, ConnContext: withPeer}
	at := startAt(t, "tcp", "127.0.0.1:0", 64, func(ctx context.Context, l net.Listener) error {
		defer s.Close()
		go func() { <-ctx.Done(); s.Close() }()
		if err := s.Serve(l); err != http.ErrServerClosed {
			return err
		}
		return nil
	})
	for range 3 * atATime { // more than can be broken off while the last one waits
		_, _ = io.WriteString(dialTo(t, at), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for deadline := time.Now().Add(testTimeout); e.now.Load() < atATime; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d answers at a time; want %d", e.now.Load(), atATime)
		}
	}
	for deadline := time.Now().Add(testTimeout); ; {
		c := dialTo(t, at)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("got no answer beside readers that do not read: %v", err)
		}
		c.Close()
		if r.StatusCode == 200 {
			break
		}
		if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || time.Now().After(deadline) {
			t.Fatalf("got %s; want 200, or 503 that says when to come again", r.Status)
		}
	}
	if got := e.most.Load(); got > atATime {
		t.Errorf("got %d answers at a time; want %d at most", got, atATime)
	}
}

// TestLargeAnswersAreBounded names the endpoints whose answers grow with what the process has.
func TestLargeAnswersAreBounded(t *testing.T) {
	for _, path := range []string{"/status", "/metrics", "/connections"} {
		a, data, _ := newAdmin(t)
		handler := a.handler()
		data.hold() // the answers under way wait for the proxy
		codes := make(chan int, atATime+1)
		for range atATime + 1 {
			go func() {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
				codes <- w.Code
			}()
		}
		if got := <-codes; got != 503 {
			t.Errorf("%s: got %d for one more than %d at a time; want 503", path, got, atATime)
		}
		data.release()
		for range atATime {
			if got := <-codes; got != 200 {
				t.Errorf("%s: got %d; want 200", path, got)
			}
		}
	}
}

func TestSilentAgentChecksKeepNobodyOut(t *testing.T) {
	a, _, _ := newAdmin(t)
	const room = 4
	at := startAt(t, "tcp", "127.0.0.1:0", room, NewAgentCheck(a, zerolog.Nop()).Serve)
	// Each may stay for agentTimeout; one after the other they would take twice the testTimeout.
	for range 2 * room * int(testTimeout/agentTimeout) {
		dialTo(t, at)
	}
	b, err := io.ReadAll(dialTo(t, at))
	if err != nil || string(b) != "up ready\n" {
		t.Errorf("got %q, %v; want up ready", b, err)
	}
}

// logged is a log that is read while it is written.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines gives the log lines whose message is message.
func (l *logged) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.b.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if v["message"] == message {
			found = append(found, v)
		}
	}
	return found
}

func TestLogSaysWhoAskedForADrainOrTheEndOfConnections(t *testing.T) {
	a, _, _ := newAdmin(t)
	var log logged
	a.log = zerolog.New(&log)
	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	overTCP := startAt(t, "tcp", "127.0.0.1:0", 8, a.Serve)
	overUnix := startAt(t, "unix", filepath.Join(dir, "a"), 8, a.Serve)
	for _, c := range []struct{ method, path, message string }{
		{"DELETE", "/connections", "connections killed"},
		{"POST", "/drain", "drain asked for"},
		{"DELETE", "/drain", "end of the drain asked for"},
	} {
		for _, at := range []net.Addr{overTCP, overUnix} {
			conn := dialTo(t, at)
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", c.method, c.path)
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || r.StatusCode >= 300 {
				t.Fatalf("%s %s: got %v, %v", c.method, c.path, r, err)
			}
			want := conn.LocalAddr().String()
			if at == overUnix {
				want = fmt.Sprintf("pid %d uid %d", os.Getpid(), os.Getuid())
			}
			lines := log.lines(t, c.message)
			if len(lines) == 0 || lines[len(lines)-1]["peer"] != want {
				t.Errorf("%s %s: got lines %v; want one of peer %s", c.method, c.path, lines, want)
			}
		}
	}
}
