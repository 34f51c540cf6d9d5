package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/proxy"
)

// testTimeout is how long an event may take on a busy machine before a test calls it missing.
const testTimeout = 30 * time.Second

// TestMain runs the tests, or, in a process that a test started, its role.
func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runChild(role))
	}
	warmUp()
	goleak.VerifyTestMain(m)
}

// warmUp makes the runtime open the descriptors that it keeps for good.
func warmUp() {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
}

// relay is a proxy under test, served by a goroutine of its own.
type relay struct {
	*proxy.Proxy
	t     testing.TB
	stop  func() // ends Serve and waits for it
	addrs map[string]string
}

// config has one listener with the label "default" and waits long enough for anything.
func config() proxy.Config {
	return proxy.Config{
		Listeners:   []proxy.Listener{{Label: "default", Address: "127.0.0.1:0"}},
		HoldTimeout: testTimeout,
		Shards:      2,
	}
}

// newProxy serves c until the test ends.
func newProxy(t testing.TB, c proxy.Config) *relay {
	t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	p, err := proxy.New(c, log)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return serve(t, p)
}

func serve(t testing.TB, p *proxy.Proxy) *relay {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	r := &relay{Proxy: p, t: t, addrs: make(map[string]string)}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Serve: got error %v; want nil or the context's", err)
			}
		case <-time.After(testTimeout):
			t.Errorf("Serve still runs %v after its context ended", testTimeout)
		}
	})
	t.Cleanup(r.stop)
	for _, l := range p.Snapshot().Labels {
		r.addrs[l.Label] = l.Listen
	}
	return r
}

// set makes m the master of the label "default".
func (r *relay) set(m netip.AddrPort) proxy.Cut {
	return r.SetMaster("default", proxy.Master{Address: m})
}

// label reads the state of one label.
func (r *relay) label(name string) proxy.LabelSnapshot {
	for _, l := range r.Snapshot().Labels {
		if l.Label == name {
			return l
		}
	}
	panic("no label " + name)
}

// state reads the state of the label "default".
func (r *relay) state() proxy.LabelSnapshot { return r.label("default") }

// waitHeld waits until n clients of "default" are held.
func (r *relay) waitHeld(n int) {
	r.t.Helper()
	waitEqual(r.t, "held clients", n, func() int { return r.state().Held })
}

// waitActive waits until "default" has n clients.
func (r *relay) waitActive(n int) {
	r.t.Helper()
	waitEqual(r.t, "active clients", n, func() int { return r.state().Active })
}

// waitState waits until a connection of "default" is in the state.
func (r *relay) waitState(state string, n int) {
	r.t.Helper()
	waitEqual(r.t, "connections in state "+state, n, func() int {
		found := 0
		for _, c := range r.Connections(proxy.Filter{Label: "default"}) {
			if c.State == state {
				found++
			}
		}
		return found
	})
}

// wantClosed waits until the connections of "default" closed for each reason
// number exactly what want says; reasons not in it must be 0.
func (r *relay) wantClosed(want map[proxy.Reason]uint64) {
	r.t.Helper()
	waitEqual(r.t, "closed connections by reason", describe(want), func() string {
		got := make(map[proxy.Reason]uint64)
		for reason, n := range r.state().Closed {
			if n > 0 {
				got[proxy.Reason(reason)] = n
			}
		}
		return describe(got)
	})
}

// describe prints counts in the order of the reasons.
func describe(counts map[proxy.Reason]uint64) string {
	var b strings.Builder
	for i := range proxy.NumReasons {
		if n := counts[proxy.Reason(i)]; n > 0 {
			fmt.Fprintf(&b, "%v:%d ", proxy.Reason(i), n)
		}
	}
	return strings.TrimSpace(b.String())
}

// waitEqual polls get until it answers want.
func waitEqual[T comparable](t testing.TB, what string, want T, get func() T) {
	t.Helper()
	var got T
	for end := time.Now().Add(testTimeout); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: got %v after %v; want %v", what, got, testTimeout, want)
}

// waitUntil polls ok until it holds.
func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waitEqual(t, what, true, ok)
}

// within fails the test when f has not returned in time.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatalf("%s: no return within %v", what, testTimeout)
	}
}

// noLeaks checks, when everything else of the test has been cleaned up, that
// descriptors and goroutines are back where they were. Call it first.
func noLeaks(t testing.TB) {
	before := openFiles(t)
	goroutines := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		var extra []string
		for end := time.Now().Add(testTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if extra = newFiles(before, openFiles(t)); len(extra) == 0 {
				break
			}
		}
		if len(extra) > 0 {
			t.Errorf("descriptors left open: got %d %v; want none", len(extra), extra[:min(8, len(extra))])
		}
		if !t.Failed() {
			goleak.VerifyNone(t, goroutines)
		}
	})
}

// openFiles maps each descriptor of this process to what it is.
func openFiles(t testing.TB) map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("list descriptors: %v", err)
	}
	files := make(map[string]string, len(entries))
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil {
			files[e.Name()] = name // gone by now: the descriptor of the listing itself
		}
	}
	return files
}

// newFiles lists what is open now and was not before.
func newFiles(before, now map[string]string) []string {
	var extra []string
	for fd, name := range now {
		if before[fd] != name {
			extra = append(extra, fd+"="+name)
		}
	}
	return extra
}
