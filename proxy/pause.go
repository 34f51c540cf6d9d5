package proxy

import (
	"fmt"
	"net/netip"
	"time"
)

// A label is paused by an operator before a planned change of its master: from
// then on new clients are held, however long, and live connections go on, or
// are closed in a quiet moment. Whatever ends a pause, its clients go only to
// the master of a consistent read that began after its end: a switchover may be
// over that this process has not heard of yet.

// Pause is the pause of one label. Times are since boot (CLOCK_BOOTTIME), which
// is the same for the processes that hand it over.
type Pause struct {
	Label      string
	By         string         // who has paused it
	Began      time.Duration  // when it began
	Until      time.Duration  // when it ends by itself
	CloseQuiet bool           // live connections are closed, each in a quiet moment
	From       netip.AddrPort // the last master before it; not valid: there was none
}

// PauseOrder asks for a pause.
type PauseOrder struct {
	By         string // who asks: nobody else may move its end
	For        time.Duration
	CloseQuiet bool
}

// PauseState is a pause with what it has come to.
type PauseState struct {
	Pause
	Ends  time.Time // Until, on the wall clock
	Live  int       // connections that have reached a master
	Held  int       // clients that wait for one
	Named Master    // the master that a consistent read has named that began after the pause; zero: none yet
}

// PausedError says that a label is paused by somebody else.
type PausedError struct {
	By   string
	Ends time.Time
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("paused by %q until %s", e.By, e.Ends.UTC().Format(time.RFC3339))
}

// Why a pause has ended, as the log says it.
const (
	resumedByOrder   = "resumed"
	resumedByEnd     = "its time is over"
	resumedByMaster  = "another master was elected"
	resumedElsewhere = "the process that took over has resumed"
)

// pause is the present pause of a label. It does not change: another one takes its place.
type pause struct {
	Pause
	ended int64 // since when its clients wait for a read that began afterwards; 0: it lasts
}

func (p *pause) lasts() bool { return p != nil && p.ended == 0 }

// pauseGrace is how long clients wait at least, once a pause is over, for the
// read that names the master and for a master that accepts them. It is for a
// hold timeout that is shorter.
const pauseGrace = 5 * time.Second

// isPaused reports whether new clients are held by a pause, or by one that has
// ended and waits for the read that names the master.
func (lb *label) isPaused() bool { return lb.pause.Load() != nil }

// takesClients reports whether a client may be dialled to the current master.
func (lb *label) takesClients() bool { return !lb.isPaused() && lb.current.Load().takesClients() }

// holdDeadline is when a client that waits since then has waited long enough.
// In a pause nobody's time runs out, and after it everybody has all of it.
func (lb *label) holdDeadline(since int64) int64 {
	hold := int64(lb.settings.HoldTimeout)
	over := lb.resumed.Load()
	if p := lb.pause.Load(); p.lasts() {
		return never
	} else if p != nil {
		over = p.ended
	}
	if over == 0 {
		return since + hold
	}
	return max(since+hold, over+max(hold, int64(pauseGrace)))
}

// Pause holds label's new clients from now on. When it returns no client can
// reach the master any more that had not: Live only falls. The pause ends at
// Resume, when another master is set than the last one that the label had, or
// when it has lasted for o.For; asked for again by the same, that counts from
// now. A *PausedError says that somebody else has paused it.
func (p *Proxy) Pause(label string, o PauseOrder) (PauseState, error) {
	lb := p.find(label)
	if lb == nil {
		return PauseState{}, ErrUnknownLabel
	}
	began, err := p.orderPause(lb, o)
	if err != nil {
		return PauseState{}, err
	}
	if began {
		p.takeBackDials(lb)
		p.wantConfirm()
	}
	p.minded()
	return p.pauseState(lb, lb.pause.Load()), nil
}

// orderPause begins a pause, or moves the end of the one that there is.
func (p *Proxy) orderPause(lb *label, o PauseOrder) (began bool, err error) {
	h := p.histories[lb.index]
	h.change.Lock() // the master at its begin is the one that SetMaster compares with
	defer h.change.Unlock()
	now := p.clock.now()
	next := &pause{Pause: Pause{
		Label: lb.name, By: o.By, Began: time.Duration(now), Until: time.Duration(now) + o.For,
		CloseQuiet: o.CloseQuiet, From: lb.lastMaster(),
	}}
	old := lb.pause.Load()
	if old.lasts() {
		if old.By != o.By {
			return false, &PausedError{By: old.By, Ends: p.wallTime(old.Until)}
		}
		next.Began, next.From, next.CloseQuiet = old.Began, old.From, old.CloseQuiet || o.CloseQuiet
	}
	if !lb.pause.CompareAndSwap(old, next) { // it has just ended by itself: it begins anew
		next.Began, next.From = time.Duration(now), lb.lastMaster()
		lb.pause.Store(next)
		old = nil
	}
	if !old.lasts() {
		p.log.Info().Str("label", lb.name).Str("by", o.By).Time("until", p.wallTime(next.Until)).Bool("close_quiet", o.CloseQuiet).
			Int64("live", lb.live.Load()).Msg("paused")
	}
	return !old.lasts(), nil
}

// lastMaster is the one that new clients got last; not valid: there was none.
func (lb *label) lastMaster() netip.AddrPort {
	e := lb.current.Load()
	m, lost := e.inOffice()
	switch {
	case m != nil:
		return m.Address
	case lost != nil:
		return lost.master
	}
	return netip.AddrPort{}
}

// takeBackDials has the clients held again that are on their way to lb's
// master. It returns when every shard has seen that lb is paused.
func (p *Proxy) takeBackDials(lb *label) {
	seen := make(chan struct{}, len(p.shards))
	p.broadcastTask(func(s *shard) task {
		at := 0
		return func() (more bool) {
			at = s.conns.some(at, slotsPerPiece, func(c *conn) {
				if c.label == lb && c.state == dialing && lb.isPaused() {
					c.takeBack(s.loop)
				}
			})
			if at < s.conns.size() {
				return true
			}
			seen <- struct{}{}
			return false
		}
	})
	for range p.shards {
		<-seen
	}
}

// takeBack has c, which is on its way to a master, wait again.
func (c *conn) takeBack(l *loop) {
	c.abortDial(l)
	c.dials = 0
	c.hold(l, c.holdDeadline(l), NoMaster)
}

// Resume ends label's pause, if there is one. by: only if it is that one's;
// empty: whoever's. A *PausedError says that it is somebody else's.
func (p *Proxy) Resume(label, by string) error {
	lb := p.find(label)
	if lb == nil {
		return ErrUnknownLabel
	}
	old := lb.pause.Load()
	if old.lasts() && by != "" && old.By != by {
		return &PausedError{By: old.By, Ends: p.wallTime(old.Until)}
	}
	p.endPause(lb, old, resumedByOrder)
	return nil
}

// Pauses are the pauses that last, in the order of the labels.
func (p *Proxy) Pauses() []PauseState {
	out := []PauseState{}
	for _, lb := range p.labels {
		if pa := lb.pause.Load(); pa.lasts() {
			out = append(out, p.pauseState(lb, pa))
		}
	}
	return out
}

// PauseOf is the state of label, whose Pause is zero but for its Label when it is not paused.
func (p *Proxy) PauseOf(label string) (PauseState, error) {
	lb := p.find(label)
	if lb == nil {
		return PauseState{}, ErrUnknownLabel
	}
	return p.pauseState(lb, lb.pause.Load()), nil
}

// Adopt makes pauses those that there are: it is for what another generation of
// the process says. Labels that this process does not have are left out. A
// pause that lasts already keeps its begin, and one that is over is none.
func (p *Proxy) Adopt(pauses []Pause) {
	wanted := map[string]Pause{}
	for _, pa := range pauses {
		wanted[pa.Label] = pa
	}
	began := false
	for _, lb := range p.labels {
		w, ok := wanted[lb.name]
		if !ok {
			p.endPause(lb, lb.pause.Load(), resumedElsewhere)
			continue
		}
		if p.adopt(lb, w) {
			began = true
			p.takeBackDials(lb)
		}
	}
	if began {
		p.wantConfirm()
	}
	p.minded()
}

// adopt has lb paused as w says, and reports whether it was not before. A master
// that was elected meanwhile ends it.
func (p *Proxy) adopt(lb *label, w Pause) (began bool) {
	h := p.histories[lb.index]
	h.change.Lock()
	defer h.change.Unlock()
	old := lb.pause.Load()
	next := &pause{Pause: w}
	lb.pause.Store(next)
	if !old.lasts() {
		p.log.Info().Str("label", lb.name).Str("by", w.By).Time("until", p.wallTime(w.Until)).Bool("close_quiet", w.CloseQuiet).
			Int64("live", lb.live.Load()).Msg("paused")
	}
	p.endPauseFor(lb, lb.current.Load().address)
	return !old.lasts()
}

// endPauseFor ends lb's pause if m is another master than the one before it.
func (p *Proxy) endPauseFor(lb *label, m netip.AddrPort) {
	if pa := lb.pause.Load(); pa.lasts() && m.IsValid() && m != pa.From {
		p.endPause(lb, pa, resumedByMaster)
	}
}

// endPause ends old, unless it is not lb's present pause any more. Its clients
// wait for Confirm, where masters are confirmed.
func (p *Proxy) endPause(lb *label, old *pause, why string) {
	if !old.lasts() {
		return
	}
	now := p.clock.now()
	next := &pause{Pause: old.Pause, ended: now}
	if !lb.pause.CompareAndSwap(old, next) {
		return // its end has moved, or somebody else has ended it
	}
	p.log.Info().Str("label", lb.name).Str("by", old.By).Str("reason", why).Int64("held", lb.held.Load()).
		Float64("paused_ms", milliseconds(time.Duration(now)-old.Began)).Msg("resumed")
	if lb.revalidate == 0 {
		p.letGo(lb, next)
		return
	}
	p.broadcast(func(s *shard) { s.rearmHeld(lb) })
	p.wantConfirm()
	p.minded()
}

// confirmPause takes that a read that began at begun has named lb's master.
func (p *Proxy) confirmPause(lb *label, begun int64) {
	if pa := lb.pause.Load(); pa != nil && pa.ended != 0 && begun > pa.ended {
		p.letGo(lb, pa)
	}
}

// letGo releases the clients of a pause that is over.
func (p *Proxy) letGo(lb *label, over *pause) {
	lb.resumed.Store(p.clock.now())
	lb.pace.expect()
	lb.pause.CompareAndSwap(over, nil)
	p.broadcast(func(s *shard) { s.resume(lb) }) // whether or not: shards are expected
}

// rearmHeld gives lb's clients the hold timeout that they have after a pause.
func (s *shard) rearmHeld(lb *label) {
	s.conns.all(func(c *conn) {
		if c.label == lb && c.state == held {
			s.timers.arm(c.index, c.holdDeadline(s.loop))
		}
	})
}

func (p *Proxy) wantConfirm() {
	if p.config.OnPause != nil {
		p.config.OnPause()
	}
}

func (p *Proxy) pauseState(lb *label, pa *pause) PauseState {
	s := PauseState{Pause: Pause{Label: lb.name}, Live: int(lb.live.Load()), Held: int(lb.held.Load())}
	if !pa.lasts() {
		return s
	}
	s.Pause, s.Ends = pa.Pause, p.wallTime(pa.Until)
	m, _ := lb.current.Load().inOffice()
	if after := max(int64(pa.Began), lb.changed.Load()); m != nil && (lb.revalidate == 0 || lb.confirmed.Load() > after) {
		s.Named = *m
	}
	return s
}

// wallTime is the wall clock's time of a time since boot.
func (p *Proxy) wallTime(at time.Duration) time.Time {
	return time.Now().Add(at - time.Duration(p.clock.now()))
}
