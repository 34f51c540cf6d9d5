package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// activeWatch follows which of several data centres is the active one, for all
// labels whose master may be in several. Its goroutine owns what was seen; labels
// look at the newest view of that, so that there is no queue that could go stale.
type activeWatch struct {
	source      *Consul
	key         string
	datacenters []string
	entries     []*subscription // to the entry in each data centre
	log         zerolog.Logger

	changed chan struct{}  // holds one element while an entry has something new
	own     chan ownAnswer // the own data centre, once, and before it why it is not known
	view    atomic.Pointer[activeView]
	garbled []bool // by data centre; the log has told of an entry that cannot be understood

	labels  []chan struct{} // each gets an element when another data centre may be active
	fencers []chan struct{} // of those that fence an outage: each read that begins counts for them
	waiting atomic.Int32    // labels for which each read of an entry counts
}

// ownAnswer is what asking for the own data centre has come to.
type ownAnswer struct{ name, why string }

// activeView is what is known of the active data centre. It is never changed.
type activeView struct {
	follower datacenter.Follower
	own      string // data centre of the agents; empty: not known yet
	whyOwn   string // what asking for it failed with
}

// newActiveWatch makes what follows the entries for those labels of s that have
// several data centres; nil: there are none.
func newActiveWatch(s *Consul) *activeWatch {
	a := &activeWatch{
		source: s, key: s.config.datacenterKey(), log: s.log,
		changed: make(chan struct{}, 1), own: make(chan ownAnswer),
	}
	for _, l := range s.config.Labels {
		for _, dc := range s.config.Of(l).Datacenters {
			if !slices.Contains(a.datacenters, dc) {
				a.datacenters = append(a.datacenters, dc)
			}
		}
	}
	if len(a.datacenters) == 0 {
		return nil
	}
	a.garbled = make([]bool, len(a.datacenters))
	a.view.Store(&activeView{follower: datacenter.NewFollower(a.datacenters)})
	return a
}

// subscribe begins to ask for the entries. fences: an outage is fenced.
func (a *activeWatch) subscribe() {
	for _, dc := range a.datacenters {
		i := interest{question: aboutKey(dc, a.key)}
		sub := a.source.subscribe(i, Config{}, a.changed)
		sub.fences = len(a.fencers) > 0
		a.entries = append(a.entries, sub)
	}
}

// add has changed get an element when there is something new for a label with the
// configuration c.
func (a *activeWatch) add(c Config, changed chan struct{}) {
	a.labels = append(a.labels, changed)
	if c.OnOutage == Fence {
		a.fencers = append(a.fencers, changed)
	}
}

// see answers the present view.
func (a *activeWatch) see() activeView { return *a.view.Load() }

// run follows the entries until ctx ends.
func (a *activeWatch) run(ctx context.Context, sink Sink) {
	defer func() {
		for _, s := range a.entries {
			a.source.unsubscribe(s)
		}
	}()
	a.source.running.Go(func() { a.learnOwn(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case own := <-a.own:
			v := a.see()
			v.own, v.whyOwn = own.name, own.why
			if own.name != "" {
				a.source.setOwn(own.name)
			}
			a.view.Store(&v)
			signalAll(a.labels)
		case <-a.changed:
			a.take(sink)
		}
	}
}

// take looks at the entries.
func (a *activeWatch) take(sink Sink) {
	before := a.see()
	next := before
	next.follower = before.follower.Clone()
	newer := false
	for i, dc := range a.datacenters {
		r := readOf(a.entries[i].see())
		a.tellGarbled(i, r)
		if up, why := a.source.reaches[dc].status(); !up && r.Why == "" {
			r.Why = why
		}
		newer = next.follower.Take(dc, r) || newer
	}
	a.view.Store(&next)
	if newer {
		a.tell(before.follower, next.follower.Newest(), sink)
		a.verifyAll() // a long poll may have told it, and only reads confirm
	}
	dc, why := next.follower.Active()
	dcBefore, whyBefore := before.follower.Active()
	switch {
	case newer || dc != dcBefore || why != whyBefore || a.waiting.Load() > 0:
		signalAll(a.labels)
	default:
		signalAll(a.fencers)
	}
}

// readOf is what v tells of an entry.
func readOf(v view) datacenter.Read {
	switch {
	case v.kind == unknown:
		return datacenter.Read{Why: v.denied}
	case v.kind == none:
		return datacenter.Read{Understood: true, Begun: v.begun}
	case v.entry.length > maxValue:
		return datacenter.Read{Why: fmt.Sprintf("it is longer than %d KiB", maxValue>>10), Begun: v.begun}
	}
	e, err := datacenter.Parse([]byte(v.entry.value))
	if err != nil {
		return datacenter.Read{Why: err.Error(), Begun: v.begun}
	}
	return datacenter.Read{Understood: true, Entry: e, Begun: v.begun}
}

// tellGarbled logs once that the entry in a data centre cannot be understood.
func (a *activeWatch) tellGarbled(i int, r datacenter.Read) {
	garbled := a.entries[i].see().kind == found && !r.Understood
	if garbled && !a.garbled[i] {
		a.log.Warn().Str("datacenter", a.datacenters[i]).Str("key", a.key).Str("error", r.Why).Msg("entry of the active data centre cannot be understood")
	}
	a.garbled[i] = garbled
}

// tell logs a change of the active data centre. What a process reads first is no
// event: nobody has activated anything.
func (a *activeWatch) tell(f datacenter.Follower, now datacenter.Entry, sink Sink) {
	before := f.Newest()
	line := a.log.Info().Str("from", before.Active).Str("to", now.Active).Uint64("term", now.Term).Str("by", now.By)
	fields := []any{"from", before.Active, "to", now.Active, "term", now.Term, "by", now.By}
	if len(now.Without) > 0 {
		line, fields = line.Strs("without", now.Without), append(fields, "without", now.Without)
	}
	line.Msg("active data centre")
	if before.Term > 0 || f.IsNobody() {
		sink.Event("activation", "active data centre", fields)
	}
}

// verifyAll asks for a consistent read of each entry, at once.
func (a *activeWatch) verifyAll() {
	for _, s := range a.entries {
		s.watch.verifyAll()
	}
}

// outage is the worst outage of an entry that must be read by v: when the first
// read began that is unanswered, and 0 where there is none; and when the newest one
// began that was answered, of the entry that was not read for longest.
func (a *activeWatch) outage(v activeView) (first, answered time.Duration) {
	newest := v.follower.Newest()
	for i, dc := range a.datacenters {
		if newest.IsWithout(dc) {
			continue
		}
		f, ans := a.entries[i].watch.outage.since()
		if f > 0 && (first == 0 || f < first) {
			first = f
		}
		if answered == 0 || ans < answered {
			answered = ans
		}
	}
	return first, answered
}

// learnOwn asks the agents, in turn, in which data centre they are.
func (a *activeWatch) learnOwn(ctx context.Context) {
	pace := waiting.Backoff{First: a.source.config.Backoff, Most: a.source.config.BackoffMax}
	for turn := 0; ; turn++ {
		dc, err := a.source.agents[turn%len(a.source.agents)].datacenter(ctx, a.source.config.VerifyTimeout)
		told := ownAnswer{name: dc}
		if err != nil {
			told.why = err.Error()
		}
		if turn == 0 || err == nil {
			select {
			case a.own <- told:
			case <-ctx.Done():
				return
			}
		}
		if err == nil {
			return
		}
		if turn == 0 {
			a.log.Warn().Err(err).Msg("own data centre is not known")
		}
		if !waiting.Sleep(ctx, pace.Next()) {
			return
		}
	}
}

// datacenter is that of the agent.
func (a *agent) datacenter(ctx context.Context, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var self struct{ Config struct{ Datacenter string } }
	if _, err := a.Fetch(ctx, "", "/v1/agent/self", &self); err != nil {
		return "", err
	}
	dc := strings.ToLower(self.Config.Datacenter)
	if datacenter.CheckName(dc) != nil {
		return "", errors.New("/v1/agent/self names no data centre")
	}
	return dc, nil
}

func signalAll(all []chan struct{}) {
	for _, c := range all {
		waiting.Signal(c)
	}
}

// status is what an operator should know.
func (a *activeWatch) status() *DatacentersStatus {
	v := a.see()
	out := &DatacentersStatus{Own: v.own, Term: v.follower.Term()}
	out.Active, out.Why = v.follower.Active()
	for i, dc := range a.datacenters {
		one := DatacenterStatus{Name: dc}
		one.Up, one.Error = a.source.reaches[dc].status()
		if r := readOf(a.entries[i].see()); one.Up && !r.Understood {
			one.Up, one.Error = false, r.Why
		}
		out.All = append(out.All, one)
	}
	return out
}
