package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/admin"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// asProgram makes the test binary behave as rosproxy itself: TestMain.
const asProgram = "ROSPROXY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == installed || strings.HasPrefix(filepath.Base(os.Args[0]), installed+".") {
		main()
	}
	if os.Getenv(asProgram) != "" {
		_ = os.Unsetenv(asProgram) // it would be warned of as a typo
		main()
	}
	if signal.Ignored(syscall.SIGHUP) { // by nohup: what is started from here would not hear it
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	goleak.VerifyTestMain(m)
}

// testTimeout is how long a test waits for what must happen.
const testTimeout = 20 * time.Second

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", testTimeout, what)
		}
	}
}

// worker is a master: it greets each connection with its name and echoes lines.
type worker struct {
	name string
	l    net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func startWorker(t *testing.T, name string) *worker {
	return startWorkerAt(t, name, "127.0.0.1:0")
}

func startWorkerAt(t *testing.T, name, address string) *worker {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("start worker %s: %v", name, err)
	}
	w := &worker{name: name, l: l, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	t.Cleanup(w.stop)
	return w
}

func (w *worker) accept() {
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.conns[c] = true
		w.mu.Unlock()
		w.wg.Go(func() { w.serve(c) })
	}
}

func (w *worker) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprintln(c, w.name)
	_, _ = io.Copy(c, c)
}

func (w *worker) stop() {
	w.l.Close()
	w.mu.Lock()
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *worker) port() int { return w.l.Addr().(*net.TCPAddr).Port }

func (w *worker) service(tags ...string) consultest.Service {
	return consultest.Service{ID: w.name, Name: "sync", Address: "127.0.0.1", Port: w.port(), Tags: tags}
}

// serviceAt is a master at an address where it does not listen yet.
func serviceAt(t *testing.T, name, address string) consultest.Service {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return consultest.Service{ID: name, Name: "sync", Address: at.Addr().String(), Port: int(at.Port()), Tags: []string{asMaster, inGroup}}
}

// startConsul starts a double of Consul.
func startConsul(t *testing.T) *consultest.Server {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	return s
}

// syncBuffer is a log that a test can read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// lines gives the log lines whose message is message.
func (b *syncBuffer) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(b.String()) {
		if !strings.HasSuffix(line, "\n") { // half written
			break
		}
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

// running is rosproxy in the test's process.
type running struct {
	t       *testing.T
	socket  string
	client  *http.Client
	signals chan os.Signal
	log     *syncBuffer
	ended   chan struct{}
	code    int // after ended
}

// startProgram runs rosproxy with args beside those that keep tests apart, and
// waits until its endpoints answer.
func startProgram(t *testing.T, args ...string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	p := &running{
		t:       t,
		socket:  filepath.Join(dir, "a"),
		signals: make(chan os.Signal, 2),
		log:     &syncBuffer{},
		ended:   make(chan struct{}),
	}
	p.client = &http.Client{Timeout: testTimeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: p.dialAdmin}}
	ctx, cancel := context.WithCancel(context.Background())
	all := append([]string{"--admin-listen=unix:" + p.socket, "--log-format=json", "--log-level=debug"}, args...)
	if given := strings.Join(args, " "); !strings.Contains(given, "--listen") && !strings.Contains(given, "--config") {
		all = append(all, "--listen=default=127.0.0.1:0")
	}
	go func() {
		defer close(p.ended)
		p.code = Program{Args: all, Stdout: io.Discard, Stderr: p.log, Signals: p.signals}.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log of rosproxy:\n%s", p.log)
		}
	})
	eventually(t, "the admin endpoints", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("rosproxy ended with %d: %s", p.code, p.log)
		default:
		}
		r, err := p.client.Get("http://rosproxy/healthz")
		if err != nil {
			return false
		}
		return r.Body.Close() == nil
	})
	return p
}

func (p *running) dialAdmin(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", p.socket)
}

// request asks an admin endpoint and decodes its JSON into v.
func (p *running) request(method, path string, v any) int {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, "http://rosproxy"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := p.client.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer a.Body.Close()
	if err := json.NewDecoder(a.Body).Decode(v); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a.StatusCode
}

func (p *running) status() api.Status {
	p.t.Helper()
	var s api.Status
	if code := p.request("GET", "/status", &s); code != http.StatusOK {
		p.t.Fatalf("GET /status: got %d; want 200", code)
	}
	return s
}

func (p *running) label() api.LabelStatus { p.t.Helper(); return p.status().Labels[0] }

func (p *running) ready() (int, admin.Readiness) {
	p.t.Helper()
	var r admin.Readiness
	return p.request("GET", "/readyz", &r), r
}

func (p *running) drainState() map[string]any {
	p.t.Helper()
	var v map[string]any
	p.request("GET", "/drain", &v)
	return v
}

func (p *running) awaitReady() { p.t.Helper(); p.awaitReason("") }

// awaitReason waits until /readyz is down for that one reason; empty: up.
func (p *running) awaitReason(reason string) {
	p.t.Helper()
	var last admin.Readiness
	defer func() {
		if p.t.Failed() {
			p.t.Logf("last /readyz: %+v", last)
		}
	}()
	eventually(p.t, "readiness "+strconv.Quote(reason), func() bool {
		code, r := p.ready()
		last = r
		if reason == "" {
			return code == http.StatusOK
		}
		return code == http.StatusServiceUnavailable && len(r.Reasons) == 1 && r.Reasons[0] == reason
	})
}

// saysOnce waits until the log has a line with that message, and checks that it
// is the only one and has the fields, names and values in turn: a line is written
// after what it tells can be seen.
func (p *running) saysOnce(message string, fields ...any) map[string]any {
	p.t.Helper()
	var lines []map[string]any
	eventually(p.t, "the log to say "+message, func() bool {
		lines = p.log.lines(p.t, message)
		return len(lines) > 0
	})
	if len(lines) != 1 {
		p.t.Fatalf("got %v; want one line of %s", lines, message)
	}
	for i := 0; i < len(fields); i += 2 {
		if got := lines[0][fields[i].(string)]; got != fields[i+1] {
			p.t.Errorf("%s: %v is %v; want %v", message, fields[i], got, fields[i+1])
		}
	}
	return lines[0]
}

// metric gives the value of one series.
func (p *running) metric(series string) float64 {
	p.t.Helper()
	r, err := p.client.Get("http://rosproxy/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), "rosproxy_"+series+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return v
		}
	}
	p.t.Fatalf("no metric %s", series)
	return 0
}

func (p *running) awaitEnd(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(testTimeout):
		p.t.Fatalf("waited %v for the end", testTimeout)
	}
	if p.code != code {
		p.t.Errorf("got exit code %d; want %d\n%s", p.code, code, p.log)
	}
}

// client is a client connection through the proxy.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (p *running) dial() *client {
	p.t.Helper()
	return dialProxy(p.t, p.label().Listen)
}

func dialProxy(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		t.Fatalf("dial the proxy: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
}

// connected dials and checks who greets.
func (p *running) connected(to *worker) *client {
	p.t.Helper()
	c := p.dial()
	c.greetedBy(to)
	return c
}

func (c *client) line() (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	s, err := c.r.ReadString('\n')
	return strings.TrimSuffix(s, "\n"), err
}

func (c *client) greetedBy(w *worker) {
	c.t.Helper()
	if got, err := c.line(); err != nil || got != w.name {
		c.t.Fatalf("greeted by %q, %v; want %s", got, err, w.name)
	}
}

// isAlive checks that a line comes back.
func (c *client) isAlive() {
	c.t.Helper()
	if _, err := fmt.Fprintln(c, "ping"); err != nil {
		c.t.Fatalf("write: got %v; want a live connection", err)
	}
	if got, err := c.line(); err != nil || got != "ping" {
		c.t.Fatalf("echo: got %q, %v; want a live connection", got, err)
	}
}

func (c *client) isReset() {
	c.t.Helper()
	if got, err := c.line(); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("read: got %q, %v; want a reset", got, err)
	}
}
