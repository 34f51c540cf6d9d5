package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// A label is paused by an operator before a planned change of its master: from
// then on new clients are held, however long, and live connections go on, or
// are closed in a quiet moment. What begins and ends a pause, and when its clients
// may go, is package pausing's.

// Pause is the pause of one label.
type Pause struct {
	Label string
	pausing.State
}

// PauseOrder asks for a pause.
type PauseOrder = pausing.Order

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

// ErrNotPaused says that there is no pause of which the end could be moved.
var ErrNotPaused = errors.New("not paused, or not any more")

// Why a pause has ended, as the log says it.
const (
	resumedByOrder   = "resumed"
	resumedByEnd     = "its time is over"
	resumedByMaster  = "another master was elected"
	resumedElsewhere = "the process that took over has resumed"
)

// Pause holds label's new clients from now on. When it returns no client can
// reach the master any more that had not: Live only falls. The pause ends at
// Resume, when another master is set than the last one that the label had, or
// when it has lasted for o.For; asked for again by the same, that counts from
// now. A *PausedError says that somebody else has paused it, and ErrNotPaused
// that there is none whose end could be moved.
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
	p.wakePauseWatch()
	return p.pauseState(lb, lb.pauseState()), nil
}

// orderPause begins a pause, or moves the end of the one that there is.
func (p *Proxy) orderPause(lb *label, o PauseOrder) (began bool, err error) {
	h := p.histories[lb.index]
	h.change.Lock() // the master at its begin is the one that SetMaster compares with
	defer h.change.Unlock()
	before, after := lb.changePause(func(s pausing.State) pausing.State {
		s, err = s.Obey(o, lb.lastMaster(), p.now())
		return s
	})
	if err != nil {
		return false, p.pauseError(before, err)
	}
	began = !before.Lasts() || before.Began != after.Began
	if began {
		p.logPaused(lb, after)
	}
	return began, nil
}

// pauseError is err, of an order about s, for who has asked.
func (p *Proxy) pauseError(s pausing.State, err error) error {
	if _, ok := errors.AsType[*pausing.OthersError](err); ok {
		return &PausedError{By: s.By, Ends: p.wallTime(s.Until)}
	}
	return ErrNotPaused
}

func (p *Proxy) logPaused(lb *label, s pausing.State) {
	p.tell(zerolog.InfoLevel, eventPause, "paused",
		"label", lb.name, "by", s.By, "until", p.wallTime(s.Until), "close_quiet", s.CloseQuiet, "live", lb.live.Load())
}

// now is the clock's time as package pausing has it.
func (p *Proxy) now() time.Duration { return time.Duration(p.clock.now()) }

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

// Pauses are the pauses that last, in the order of the labels.
func (p *Proxy) Pauses() []PauseState {
	out := []PauseState{}
	for _, lb := range p.labels {
		if s := lb.pauseState(); s.Lasts() {
			out = append(out, p.pauseState(lb, s))
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
	return p.pauseState(lb, lb.pauseState()), nil
}

// Adopt makes pauses those that there are: it is for what another generation of
// the process says. Labels that this process does not have are left out.
func (p *Proxy) Adopt(pauses []Pause) {
	wanted := map[string]Pause{}
	for _, w := range pauses {
		wanted[w.Label] = w
	}
	began := false
	for _, lb := range p.labels {
		w, ok := wanted[lb.name]
		if !ok {
			p.endPause(lb, resumedElsewhere, func(s pausing.State) pausing.State {
				s, _ = s.Resume("", p.now()) // whoever's: it cannot fail
				return s
			})
			continue
		}
		if p.adopt(lb, w.State) {
			began = true
			p.takeBackDials(lb)
		}
	}
	if began {
		p.wantConfirm()
	}
	p.wakePauseWatch()
}

// adopt has lb paused as w says, and reports whether it was not before. A master
// that was elected meanwhile ends it.
func (p *Proxy) adopt(lb *label, w pausing.State) (began bool) {
	h := p.histories[lb.index]
	h.change.Lock()
	defer h.change.Unlock()
	before, _ := lb.changePause(func(pausing.State) pausing.State { return w })
	if !before.Lasts() {
		p.logPaused(lb, w)
	}
	p.electedInPause(lb, lb.current.Load().address)
	return !before.Lasts()
}

func (p *Proxy) pauseState(lb *label, pa pausing.State) PauseState {
	s := PauseState{Pause: Pause{Label: lb.name}, Live: int(lb.live.Load()), Held: int(lb.held.Load())}
	if !pa.Lasts() {
		return s
	}
	s.State, s.Ends = pa, p.wallTime(pa.Until)
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
