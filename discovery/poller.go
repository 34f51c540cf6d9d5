package discovery

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// poller puts one question to one address: one long poll at a time, since
// those that are given up live on in the agent and count against its limit
// (consul#8524), and beside it non-blocking consistent reads every now and
// then, since a long poll alone may be blind or lied to for long.
type poller struct {
	watch *watch
	agent *agent
	pace  waiting.Backoff
	// What changes all the time wakes the long poll all the time.
	// Tokens, not pauses: a first wake is never delayed.
	wakes, reads *rate.Limiter
	polled       atomic.Pointer[time.Time] // when the present long poll began
}

func newPoller(w *watch, a *agent) *poller {
	p := &poller{
		watch: w,
		agent: a,
		pace:  waiting.Backoff{First: w.config.Backoff, Most: w.config.BackoffMax},
		wakes: rate.NewLimiter(20, 20),
		reads: rate.NewLimiter(10, 10),
	}
	p.polled.Store(new(time.Time))
	return p
}

// poll keeps a long poll going until ctx ends.
func (p *poller) poll(ctx context.Context) {
	if p.watch.question.seldom {
		return
	}
	index := uint64(0)
	for p.wakes.Wait(ctx) == nil {
		p.polled.Store(new(time.Now()))
		a, ok := p.ask(ctx, query{index: index, wait: p.watch.config.Wait, timeout: p.watch.config.pollTimeout()})
		if !ok {
			return
		}
		if index = nextIndex(a); index > 0 {
			p.pace.Reset()
			continue
		}
		if a.err == nil && a.index > 0 {
			continue // it went backwards: at once from the beginning
		}
		if !waiting.Sleep(ctx, p.pace.Next()) {
			return
		}
	}
}

// nextIndex is the index to wait on after a: 0, that is not to wait but to
// read from the beginning, after any error, when there was no index, and when
// it went backwards (api-docs/features/blocking; an index from a cluster that
// was wiped would block until the wait ends).
func nextIndex(a answer) uint64 {
	if a.err != nil || a.index < a.asked {
		return 0
	}
	return a.index
}

// verify reads consistently from time to time, and at once when the watch asks
// for it, until ctx ends. No read waits for another.
func (p *poller) verify(ctx context.Context) {
	var reading sync.WaitGroup
	defer reading.Wait()
	ended := make(chan answer)
	timer := time.NewTimer(0)
	defer timer.Stop()
	s := schedule{last: time.Now(), every: waiting.About(p.watch.config.VerifyEvery), wanted: p.watch.question.seldom}
	sinceWhole := 0 // reads since the last one of the whole answer
	for {
		var due <-chan time.Time
		polled := *p.polled.Load()
		if p.watch.question.seldom {
			polled = time.Now() // there is no long poll whose beginning is to be awaited
		}
		if wait, ok := s.next(time.Now(), p.sooner(), polled); ok {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-p.watch.verify[p.agent.id]:
			s.wanted = true
			continue
		case a := <-ended:
			s.end(a.began, a.err == nil)
			continue
		case <-due:
		}
		extra := s.inFlight > 0
		if extra && !p.agent.extra.take() {
			s.earliest = time.Now().Add(p.sooner())
			continue
		}
		if p.reads.Wait(ctx) != nil {
			return
		}
		if extra {
			p.agent.Rotate() // where one name stands for several servers, another one may answer
		}
		indexOnly := p.isIndexEnough(&s, sinceWhole)
		if sinceWhole++; !indexOnly {
			sinceWhole = 0
		}
		s.begin(time.Now(), waiting.About(p.watch.config.VerifyEvery))
		reading.Go(func() { p.read(ctx, ended, extra, indexOnly) })
	}
}

const (
	// manyBytes of an answer are worth a read of its index alone: those of some fifty
	// instances. A thousand cost a dev agent 25 ms, and the index 2 ms.
	manyBytes = 64 << 10
	// wholeEvery is how many reads there are to one of the whole answer, so that
	// another body at the same index is found in the end.
	wholeEvery = 10
)

// isIndexEnough reports whether the next read may ask for the index alone, since
// the answer is long, all is well, and nothing but the passing of time asks for it.
// before is the number of reads since the last whole one.
func (p *poller) isIndexEnough(s *schedule, before int) bool {
	return !s.wanted && !s.trouble && s.inFlight == 0 && before < wholeEvery-1 &&
		p.watch.known[p.agent.id][1].size() >= manyBytes
}

// sooner is the time between two reads while one is unanswered. Where an
// outage is to be fenced, that gives several a chance before it is; once it
// is, there is no more hurry.
func (p *poller) sooner() time.Duration {
	d := p.watch.config.VerifyTimeout / maxReads
	if p.watch.isFenced() {
		d = max(d, time.Second)
	}
	return atMost(d)
}

// read puts one consistent read, and hands the answer to ended once the watch
// has it. extra: it holds a place among the reads that may overtake others.
func (p *poller) read(ctx context.Context, ended chan<- answer, extra, indexOnly bool) {
	if extra {
		defer p.agent.extra.give()
	}
	a, _ := p.ask(ctx, query{consistent: true, indexOnly: indexOnly, timeout: p.watch.config.VerifyTimeout})
	select {
	case ended <- a:
	case <-ctx.Done():
	}
}

// ask puts q, notes how the address fares, and hands the answer to the watch.
// It returns false when ctx has ended.
func (p *poller) ask(ctx context.Context, q query) (answer, bool) {
	q.question, q.known = p.watch.question, &p.watch.known[p.agent.id][0]
	var begun time.Duration
	if q.consistent {
		q.known = &p.watch.known[p.agent.id][1]
		begun = p.watch.outage.begin()
	}
	a := p.agent.ask(ctx, q)
	if ctx.Err() != nil {
		return a, false
	}
	a.begun = begun
	if p.watch.isEntry && p.watch.reach != nil && q.consistent {
		p.watch.reach.note(a)
	}
	if a.err == nil || !p.watch.isRemote() {
		p.agent.health.note(asked{watch: p.watch.id, poll: !q.consistent}, a)
	}
	if ctx.Err() != nil {
		p.agent.health.forget(p.watch.id) // it was stopped between the two, and nobody will ask again
		return a, false
	}
	select {
	case p.watch.answers <- a:
		return a, true
	case <-ctx.Done():
		return a, false
	}
}
