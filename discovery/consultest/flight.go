package consultest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Why a request that waits starts over.
var (
	errFaultComes = errors.New("a fault was injected")
	errFaultGoes  = errors.New("a fault was undone")
)

// maxRecorded is how many of the last requests are remembered.
const maxRecorded = 8192

// Request is one request that the double has got.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	At     time.Time
	Took   time.Duration // 0 while in flight
	Status int           // 0 while in flight, and when the connection was ended instead
	Faults []string      // names of the faults that were on its way
}

// Blocking reports whether the request is a long poll.
func (r Request) Blocking() bool {
	i := r.Query.Get("index")
	return r.Method == http.MethodGet && i != "" && i != "0"
}

// flights knows the requests in flight, those before them, and the faults in
// the way of the next.
type flights struct {
	mu      sync.Mutex
	faults  []*armed // in the order of their injection
	live    map[*flight]struct{}
	landed  []Request
	polls   int           // long polls in flight
	asleep  int           // of them those that wait
	peak    int           // the most there ever were
	changed chan struct{} // closed and replaced when a request begins or ends
}

// armed is a fault that was injected.
type armed struct {
	Fault
	left int // requests it still applies to; below 0: all
}

// flight is one request in flight.
type flight struct {
	Request
	http   *http.Request
	cancel context.CancelCauseFunc // guarded by flights.mu; of the attempt that runs; nil: none did yet
	on     []*armed                // guarded by flights.mu; faults on the attempt that runs
	met    map[*armed]bool         // guarded by flights.mu; faults that have counted it

	asleep bool // guarded by flights.mu; waits for a change, or for the end of a fault

	sent   atomic.Bool // the answer has begun
	status atomic.Int32
}

func newFlights() *flights {
	return &flights{live: map[*flight]struct{}{}, changed: make(chan struct{})}
}

func (fs *flights) begin(r *http.Request) *flight {
	f := &flight{
		Request: Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(), At: time.Now()},
		http:    r,
		met:     map[*armed]bool{},
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.live[f] = struct{}{}
	fs.notifyLocked()
	return f
}

func (fs *flights) end(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.live, f)
	if f.Blocking() && f.cancel != nil {
		fs.polls--
		fs.wakeLocked(f)
	}
	f.Took, f.Status = max(time.Since(f.At), 1), int(f.status.Load())
	if len(fs.landed) == maxRecorded {
		fs.landed = slices.Delete(fs.landed, 0, maxRecorded/4)
	}
	fs.landed = append(fs.landed, f.Request)
	fs.notifyLocked()
}

// settle notes that a long poll has begun to wait.
func (fs *flights) settle(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.Blocking() && !f.asleep {
		f.asleep = true
		fs.asleep++
		fs.notifyLocked()
	}
}

func (fs *flights) wakeLocked(f *flight) {
	if f.asleep {
		f.asleep = false
		fs.asleep--
	}
}

func (fs *flights) notifyLocked() {
	close(fs.changed)
	fs.changed = make(chan struct{})
}

// depart begins an attempt: its context, and the faults on its way, oldest first.
func (fs *flights) depart(f *flight, r *http.Request) (context.Context, context.CancelCauseFunc, []Fault) {
	ctx, cancel := context.WithCancelCause(r.Context())
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.Blocking() && f.cancel == nil { // from now on an injection finds it
		fs.polls++
		fs.peak = max(fs.peak, fs.polls)
	}
	fs.wakeLocked(f)
	f.cancel, f.on, f.Faults = cancel, nil, nil
	var faults []Fault
	for _, a := range fs.faults {
		if !a.applies(r) || (a.left == 0 && !f.met[a]) {
			continue
		}
		if !f.met[a] {
			f.met[a] = true
			a.left--
		}
		f.on = append(f.on, a)
		f.Faults = append(f.Faults, a.Name)
		faults = append(faults, a.Fault)
	}
	return ctx, cancel, faults
}

// inject puts a fault in the way; the requests that wait there meet it at once.
func (fs *flights) inject(fault Fault) (undo func()) {
	a := &armed{Fault: fault, left: -1}
	if fault.Count > 0 {
		a.left = fault.Count
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults = append(fs.faults, a)
	for f := range fs.live {
		if f.cancel != nil && !f.sent.Load() && a.applies(f.http) {
			f.cancel(errFaultComes)
		}
	}
	return func() { fs.remove(a) }
}

func (fs *flights) remove(a *armed) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	i := slices.Index(fs.faults, a)
	if i < 0 {
		return
	}
	fs.faults = slices.Delete(fs.faults, i, i+1)
	for f := range fs.live {
		if slices.Contains(f.on, a) {
			f.cancel(errFaultGoes)
		}
	}
}

// Requests lists the requests in the order of their arrival, those in flight
// included. Only the last few thousand are remembered.
func (s *Server) Requests() []Request {
	fs := s.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := slices.Clone(fs.landed)
	for f := range fs.live {
		all = append(all, f.Request)
	}
	slices.SortStableFunc(all, func(a, b Request) int { return a.At.Compare(b.At) })
	return all
}

// RequestsTo lists the requests whose path begins with prefix.
func (s *Server) RequestsTo(prefix string) []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return !strings.HasPrefix(r.Path, prefix) })
}

// ForgetRequests empties the record and its peak; requests in flight stay.
func (s *Server) ForgetRequests() {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	s.flights.landed, s.flights.peak = nil, s.flights.polls
}

// LongPolls is the number of blocking queries in flight.
func (s *Server) LongPolls() int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	return s.flights.polls
}

// PeakLongPolls is the most blocking queries that were in flight at a time.
func (s *Server) PeakLongPolls() int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	return s.flights.peak
}

// AwaitLongPolls returns when n or more blocking queries wait for a change, or
// hang in a fault, and with an error when ctx ends first.
func (s *Server) AwaitLongPolls(ctx context.Context, n int) error {
	return s.await(ctx, func() (int, bool) { return s.flights.asleep, s.flights.asleep >= n }, fmt.Sprintf("%d long polls", n))
}

// AwaitRequests returns when n or more requests have come to paths that begin
// with prefix, or with an error when ctx ends first.
func (s *Server) AwaitRequests(ctx context.Context, prefix string, n int) error {
	count := func() (got int, ok bool) {
		for _, r := range s.flights.landed {
			if strings.HasPrefix(r.Path, prefix) {
				got++
			}
		}
		for f := range s.flights.live {
			if strings.HasPrefix(f.Path, prefix) {
				got++
			}
		}
		return got, got >= n
	}
	return s.await(ctx, count, fmt.Sprintf("%d requests to %s", n, prefix))
}

// await waits for a count that is read under the lock of flights.
func (s *Server) await(ctx context.Context, count func() (int, bool), what string) error {
	for {
		s.flights.mu.Lock()
		got, ok := count()
		changed := s.flights.changed
		s.flights.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: got %d: %w", what, got, context.Cause(ctx))
		}
	}
}
