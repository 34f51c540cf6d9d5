package discovery

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// watch is one question being asked of every address, for all who subscribed to
// it. Its goroutine owns the index filter: answers are handed over one at a time,
// so that there is no queue that could go stale. What subscribers see is always
// what the last answer said that counted.
type watch struct {
	id       int
	question question
	agents   []*agent
	config   Config // VerifyTimeout is that of the most pressing subscriber
	filter   indexFilter
	outage   *outage
	log      zerolog.Logger
	reach    *reach // of its data centre; nil: there are not several
	isEntry  bool   // it is about who is active there, which is asked all the time

	answers chan answer
	verify  []chan struct{} // by agent; each holds one wish at most
	known   [][2]memo       // by agent; of long polls and of consistent reads
	fencing time.Duration   // how long an outage lasts until the last subscriber that fences has done so; 0: none does

	full answer // of the last consistent read that counted; its index is 0 before the first

	stop context.CancelFunc // nil: it does not run yet

	mu          sync.Mutex
	subscribers []*subscription
	last        answer // that counted; its index is 0 before the first
}

// subscription is a subscriber's view of a question. Its holder alone ends it.
type subscription struct {
	watch   *watch
	label   string        // interest.label
	changed chan struct{} // of the subscriber: holds one element while there is something new
	fences  bool          // it wants to know when reads begin as well
	reports bool          // it wants to know of each index
	view    atomic.Pointer[view]
}

// see answers the present view.
func (s *subscription) see() view { return *s.view.Load() }

// newWatch makes the watch of q. c holds for all its subscribers, but for what
// they do about an outage, which n has.
func newWatch(id int, q question, c Config, n needs, agents []*agent, log zerolog.Logger) *watch {
	if n.verifyTimeout > 0 {
		c.VerifyTimeout = n.verifyTimeout
	}
	w := &watch{
		id:       id,
		question: q,
		agents:   agents,
		config:   c,
		filter:   newIndexFilter(len(agents), c.confirmedFor(), c.RegressAfter),
		outage:   newOutage(),
		log:      log,
		answers:  make(chan answer),
		known:    make([][2]memo, len(agents)),
		fencing:  n.fencing,
	}
	for range agents {
		w.verify = append(w.verify, make(chan struct{}, 1))
	}
	return w
}

// run distributes answers until ctx ends.
func (w *watch) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-w.answers:
			w.take(a)
		case <-w.outage.changed:
			w.tellFencing()
		}
	}
}

// take judges one answer, and shows it to the subscribers if it counts. One that
// was not obtained, not understood or denied is unknown, never "none".
func (w *watch) take(a answer) {
	if a.kind != none && a.kind != found {
		if a.kind == denied {
			w.deny(a.err.Error())
		}
		return
	}
	if a.indexOnly {
		if a.index == 0 || a.index != w.full.index {
			w.verifyAt(a.agent)
			return
		}
		a.kind, a.instances, a.filtered = w.full.kind, w.full.instances, w.full.filtered
	}
	r := w.filter.judge(a)
	if r.counts && a.consistent {
		w.full = a
	}
	if r.reset {
		w.agents[a.agent].health.reset()
		w.log.Debug().Str("consul", w.agents[a.agent].Address()).Stringer("question", w.question).Uint64("index", a.index).Msg("raft index went backwards")
	}
	if r.counts && a.consistent {
		w.outage.end(a.begun)
	}
	if r.verify || r.counts && w.show(a) {
		w.verifyAt(a.agent)
	}
}

// show lets the subscribers see a. Those for whom it changes something are told
// before those whom it only confirms. It reports whether a consistent read must
// tell some of them more.
func (w *watch) show(a answer) (verify bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = a
	confirmed := make([]*subscription, 0, len(w.subscribers))
	for _, s := range w.subscribers {
		before := s.see()
		next, doubt := before.after(a, s.label)
		verify = verify || doubt
		if next == before {
			continue
		}
		s.view.Store(&next)
		if next.arrived.Equal(before.arrived) && next.denied == before.denied {
			if a.consistent || s.reports {
				confirmed = append(confirmed, s)
			}
			continue
		}
		waiting.Signal(s.changed)
	}
	for _, s := range confirmed {
		waiting.Signal(s.changed)
	}
	return verify
}

// deny lets the subscribers see why they learn nothing.
func (w *watch) deny(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.subscribers {
		if v := s.see(); v.denied != why {
			v.denied = why
			s.view.Store(&v)
			waiting.Signal(s.changed)
		}
	}
}

// tellFencing wakes those for whom it counts that a read has begun.
func (w *watch) tellFencing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.subscribers {
		if s.fences {
			waiting.Signal(s.changed)
		}
	}
}

// join adds s, which sees at once what the last answer said.
func (w *watch) join(s *subscription) {
	s.watch = w
	s.view.Store(&view{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribers = append(w.subscribers, s)
	if w.last.kind == unknown {
		return
	}
	next, doubt := view{}.after(w.last, s.label)
	s.view.Store(&next)
	waiting.Signal(s.changed)
	if doubt {
		w.verifyAll()
	}
}

// leave takes s away, and reports whether nobody is left.
func (w *watch) leave(s *subscription) (empty bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.subscribers {
		if other == s {
			w.subscribers = append(w.subscribers[:i:i], w.subscribers[i+1:]...)
			break
		}
	}
	return len(w.subscribers) == 0
}

// whyUnanswered says of a question that has had no answer yet what has become of it
// at each address.
func (w *watch) whyUnanswered() string {
	if trouble := w.trouble(); trouble != "" {
		return "Consul does not answer: " + trouble
	}
	return "Consul has not answered yet"
}

// trouble is the latest error of each address, which are named where there are
// several; empty: there is none.
func (w *watch) trouble() string {
	var all []string
	for _, a := range w.agents {
		trouble := a.health.trouble(w.id)
		if trouble != "" && len(w.agents) > 1 {
			trouble = a.Address() + ": " + trouble
		}
		if trouble != "" {
			all = append(all, trouble)
		}
	}
	return strings.Join(all, "; ")
}

// isRemote reports whether it is asked of another data centre than the agents' own.
func (w *watch) isRemote() bool { return w.reach != nil && w.reach.isRemote() }

// isFenced reports whether everybody who fences has done so in the outage of now.
func (w *watch) isFenced() bool {
	first, _ := w.outage.since()
	return w.fencing > 0 && first > 0 && clock.SinceBoot() > first+w.fencing
}

// verifyAt asks for a consistent read of one address, at once.
func (w *watch) verifyAt(agent int) { waiting.Signal(w.verify[agent]) }

// verifyAll asks for a consistent read of every address, at once.
func (w *watch) verifyAll() {
	for i := range w.verify {
		w.verifyAt(i)
	}
}
