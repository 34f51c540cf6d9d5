package discovery

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

// await waits until done says so.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s", testTimeout, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// recorder is a Sink that writes down what it is told: "default set ADDRESS",
// "default clear", "default cut".
type recorder struct {
	events  []string
	mu      sync.Mutex
	calls   []string
	masters []Master                 // of the set calls
	begun   map[string]time.Duration // by label: of the newest confirmation
	until   map[string]time.Duration // by label: of the last lease
	busy    map[string]bool
	overlap bool
	again   bool               // something was confirmed that had been already
	hold    func(label string) // called within each call; nil: nothing
}

func (r *recorder) enter(label, call string, m *Master) {
	r.mu.Lock()
	if r.busy == nil {
		r.busy = make(map[string]bool)
	}
	r.overlap = r.overlap || r.busy[label]
	r.busy[label] = true
	r.calls = append(r.calls, label+" "+call)
	if m != nil {
		r.masters = append(r.masters, *m)
	}
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		hold(label)
	}
	r.mu.Lock()
	r.busy[label] = false
	r.mu.Unlock()
}

func (r *recorder) SetMaster(label string, m Master) { r.enter(label, "set "+m.Address.String(), &m) }

func (r *recorder) ClearMaster(label string, l Loss) {
	if l.Cut {
		r.enter(label, "cut", nil)
	} else {
		r.enter(label, "clear", nil)
	}
}

func (r *recorder) Confirm(label string, begun time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun == nil {
		r.begun = make(map[string]time.Duration)
	}
	r.again = r.again || begun <= r.begun[label]
	r.begun[label] = begun
}

func (r *recorder) Event(event, message string, fields []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprint(event, ": ", message, " ", fields))
}

// told are the events so far.
func (r *recorder) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) Lease(label string, until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = make(map[string]time.Duration)
	}
	r.until[label] = until
}

// confirmed is when the newest read began that confirmed label's master.
func (r *recorder) confirmed(label string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun[label]
}

// lease is how long label's last lease lasts; 0: there was none.
func (r *recorder) lease(label string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until[label]
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *recorder) lastMaster() Master {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.masters[len(r.masters)-1]
}

// logBuffer keeps a log for reading.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count is how many lines of level hold text.
func (l *logBuffer) count(level, text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, `"level":"`+level+`"`) && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// running is a source at work.
type running struct {
	*Consul
	*recorder
	t   testing.TB
	log *logBuffer
}

// quick is a configuration that does in tens of milliseconds what takes
// seconds in production.
func quick(addresses ...string) Config {
	return Config{
		Service: "sync", Tags: []string{"role=master"}, Labels: []Label{{Name: "default"}}, Addresses: addresses,
		Wait: 2 * time.Second, VerifyEvery: 50 * time.Millisecond, VerifyTimeout: time.Second,
		ResolveTimeout: time.Second, RegressAfter: 2 * time.Second,
		Backoff: 20 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
	}
}

// start runs a source until the test ends.
func start(t testing.TB, c Config, change ...func(*Consul, *recorder)) *running {
	t.Helper()
	return startWith(t, c, hostname.SystemLookup, change...)
}

func startWith(t testing.TB, c Config, lookup hostname.LookupFunc, change ...func(*Consul, *recorder)) *running {
	t.Helper()
	r := &running{recorder: &recorder{}, t: t, log: &logBuffer{}}
	s, err := newConsul(c, zerolog.New(r.log), lookup)
	if err != nil {
		t.Fatal(err)
	}
	r.Consul = s
	for _, f := range change {
		f(s, r.recorder)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx, r.recorder) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v; want nil", err)
		}
		s.mu.Lock()
		if n := len(s.watches); n != 0 {
			t.Errorf("got %d questions with subscribers after Run; want none", n)
		}
		s.mu.Unlock()
		if r.overlap {
			t.Error("calls of the sink for one label overlapped")
		}
		if r.again {
			t.Error("a master was confirmed as of a read that began no later than the last one's")
		}
		if t.Failed() {
			t.Logf("calls: %q\nlog:\n%s", r.list(), r.log)
		}
	})
	return r
}

// calls waits until the sink has been told exactly want.
func (r *running) calls(want ...string) {
	r.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		got := r.list()
		if slices.Equal(got, want) {
			return
		}
		if len(got) > len(want) || time.Now().After(deadline) {
			r.t.Fatalf("got calls %q; want %q", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// logged waits until n lines of level hold text: a line is written after what it
// tells can be seen. More than n fail the test.
func (r *running) logged(n int, level, text string) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("%d lines at %s of %q", n, level, text), func() bool { return r.log.count(level, text) >= n })
	if got := r.log.count(level, text); got != n {
		r.t.Errorf("got %d lines at %s of %q; want %d", got, level, text, n)
	}
}

func (r *running) agent(i int) AgentStatus { return r.Agents()[i] }

// state waits for the first label's state.
func (r *running) state(want State, seen int) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("state %q with %d masters seen", want, seen), func() bool {
		l := r.Labels()[0]
		return l.State == want && l.MastersSeen == seen
	})
}

// heard waits until every agent that is well has answered anew, twice.
func (r *running) heard(agents ...int) {
	r.t.Helper()
	for range 2 {
		now := time.Now()
		for _, i := range agents {
			await(r.t, fmt.Sprintf("an answer of agent %d", i), func() bool { return r.agent(i).LastContact.After(now) })
		}
	}
}

// double starts a Consul double with sync-1 and sync-2 at ports 7801 and 7802
// of 127.0.0.1, of which the first is master.
func double(t testing.TB) *consultest.Server {
	t.Helper()
	s, err := consultest.Listen(consultest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	workers(s)
	return s
}

func workers(s *consultest.Server) {
	s.Register(
		consultest.Service{ID: "sync-1", Name: "sync", Port: 7801, Tags: []string{"role=master"}},
		consultest.Service{ID: "sync-2", Name: "sync", Port: 7802, Tags: []string{"role=slave"}},
	)
}

// failover makes sync-2 the master.
func failover(s *consultest.Server) {
	s.Txn(func(t *consultest.Tx) {
		t.SetTags("sync-1", "role=slave")
		t.SetTags("sync-2", "role=master")
	})
}

const (
	set1 = "default set 127.0.0.1:7801"
	set2 = "default set 127.0.0.1:7802"
)
