package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// maxAddresses is how many addresses of one name are tried.
const maxAddresses = 16

// lookupAll asks for the addresses of host that can be connected to, the
// lowest first and IPv4 before IPv6, whatever the order they come in: every
// instance of a tier must begin with the same one. There is at least one.
func lookupAll(ctx context.Context, lookup hostname.LookupFunc, host string) ([]netip.Addr, error) {
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	addrs = slices.Clone(addrs)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() })
	if len(addrs) == 0 {
		return nil, fmt.Errorf("resolve %s: it has no usable address", host)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddresses)], nil
}

// connectFunc reports whether an address accepts connections.
type connectFunc func(ctx context.Context, to netip.AddrPort) error

func systemConnect(ctx context.Context, to netip.AddrPort) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// resolver knows what the host name of one label's master stands for.
//
// A name is looked up when it becomes the master's, or when the master's
// registration changes, and again while dials fail; not while all is well,
// since name servers that answer by turns must not make failovers. Of several
// addresses the lowest is taken, until it refuses and another one accepts: the
// addresses of one name are taken for ways to one and the same master. What
// was found stays as long as the name stands for it, and while nothing can be
// looked up.
//
// One goroutine owns it: it calls the methods and takes what comes from results.
// Look-ups run beside it, one at a time.
type resolver struct {
	lookup  hostname.LookupFunc
	connect connectFunc
	timeout time.Duration   // of one look-up
	pace    waiting.Backoff // between look-ups that fail; copied by each task
	often   time.Duration   // at least, between two searches for another address

	results chan lookupResult
	known   map[string]netip.Addr // by host: what it was found to stand for
	task    int                   // number of the task that counts: what others find is ignored
	busy    bool                  // it is running
	stop    context.CancelFunc    // of the one that was begun last; nil: there was none
	tried   time.Time             // when another address was searched last
	tasks   sync.WaitGroup
}

// lookupResult is what a task of a resolver has to say.
type lookupResult struct {
	task int
	host string
	addr netip.Addr // not valid: nothing was found
	err  error      // why it could not be looked up
	more bool       // the task goes on
	at   time.Time
}

func newResolver(lookup hostname.LookupFunc, timeout time.Duration, pace waiting.Backoff) *resolver {
	return &resolver{
		lookup: lookup, connect: systemConnect, timeout: timeout, pace: pace, often: time.Second,
		results: make(chan lookupResult), known: make(map[string]netip.Addr),
	}
}

// start looks host up, again and again until that succeeds; no other host
// counts any more. An empty host is none.
func (r *resolver) start(ctx context.Context, host string) {
	r.cancel()
	if host == "" {
		return
	}
	r.run(ctx, host, r.find)
}

// retry looks host up once more, since dials to it fail at its port, unless
// that is being done or was done a moment ago; again and again until it
// succeeds. Of several addresses one that accepts connections is taken.
func (r *resolver) retry(ctx context.Context, host string, port uint16) {
	if r.busy || host == "" || time.Since(r.tried) < r.often {
		return
	}
	r.tried = time.Now()
	r.run(ctx, host, func(ctx context.Context, f lookupResult, present netip.Addr) { r.search(ctx, f, present, port) })
}

func (r *resolver) run(ctx context.Context, host string, do func(context.Context, lookupResult, netip.Addr)) {
	ctx, r.stop = context.WithCancel(ctx)
	r.task++
	r.busy = true
	f, present := lookupResult{task: r.task, host: host}, r.known[host]
	r.tasks.Go(func() { do(ctx, f, present) })
}

// accept notes what a task found, and reports whether it counts.
func (r *resolver) accept(f lookupResult) bool {
	if f.task != r.task {
		return false
	}
	r.busy = f.more
	if f.addr.IsValid() {
		r.remember(f.host, f.addr)
	}
	return true
}

// maxNames bounds the hosts that are remembered.
const maxNames = 64

func (r *resolver) remember(host string, addr netip.Addr) {
	if _, ok := r.known[host]; !ok && len(r.known) >= maxNames {
		for other := range r.known {
			delete(r.known, other)
			break
		}
	}
	r.known[host] = addr
}

// cancel ends the task that is running; nothing it finds counts any more.
func (r *resolver) cancel() {
	if r.stop != nil {
		r.stop()
	}
	r.task++
	r.busy = false
}

// close ends all tasks, and returns when none runs any more.
func (r *resolver) close() {
	r.cancel()
	r.tasks.Wait()
}

// find reports what the name stands for.
func (r *resolver) find(ctx context.Context, f lookupResult, present netip.Addr) {
	addrs := r.insist(ctx, f)
	if addrs == nil {
		return
	}
	if f.addr = addrs[0]; slices.Contains(addrs, present) {
		f.addr = present
	}
	r.send(ctx, f)
}

// search reports which address of the name to go on with.
func (r *resolver) search(ctx context.Context, f lookupResult, present netip.Addr, port uint16) {
	addrs := r.insist(ctx, f)
	if addrs == nil {
		return
	}
	f.addr = r.choose(ctx, addrs, present, port)
	r.send(ctx, f)
}

// insist looks the name of f up until that succeeds, and reports the first
// failure. nil: ctx has ended.
func (r *resolver) insist(ctx context.Context, f lookupResult) []netip.Addr {
	pace := r.pace
	for first := true; ; first = false {
		addrs, err := r.ask(ctx, f.host)
		if err == nil {
			return addrs
		}
		if first {
			f.err, f.more = err, true
			r.send(ctx, f)
		}
		if !waiting.Sleep(ctx, pace.Next()) {
			return nil
		}
	}
}

// choose picks one of addrs: the present one if it accepts connections after
// all, since a failover would cut those who are well on it; else the first
// that does; and where none does, the present one while the name stands for it.
func (r *resolver) choose(ctx context.Context, addrs []netip.Addr, present netip.Addr, port uint16) netip.Addr {
	const oneAttempt = time.Second // the present one has just had the time of a dial
	stands := slices.Contains(addrs, present)
	if len(addrs) == 1 {
		return addrs[0]
	}
	ctx, cancel := context.WithTimeout(ctx, oneAttempt)
	defer cancel()
	accepts := make([]bool, len(addrs))
	var dialing sync.WaitGroup
	for i, addr := range addrs {
		dialing.Go(func() { accepts[i] = r.connect(ctx, netip.AddrPortFrom(addr, port)) == nil })
	}
	dialing.Wait()
	switch i := slices.Index(accepts, true); {
	case stands && (i < 0 || accepts[slices.Index(addrs, present)]):
		return present
	case i < 0:
		return addrs[0]
	default:
		return addrs[i]
	}
}

func (r *resolver) ask(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return lookupAll(ctx, r.lookup, host)
}

func (r *resolver) send(ctx context.Context, f lookupResult) {
	f.at = time.Now()
	select {
	case r.results <- f:
	case <-ctx.Done():
	}
}
