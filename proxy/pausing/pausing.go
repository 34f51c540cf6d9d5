// Package pausing is the state machine of a label's pause: orders, elections
// and reads go in, a new state comes out. It does no I/O and reads no clock: times
// are since boot (CLOCK_BOOTTIME), which is the same for all processes of a
// machine.
//
// It is apart from the data plane, which carries out what it says, so that the
// search of the command that pauses and resumes (package switchover) runs over
// the same transitions.
package pausing

import (
	"fmt"
	"net/netip"
	"time"
)

// State is the pause of one label; the zero State is none. While there is one,
// new clients are held.
type State struct {
	By         string         // who has paused it
	Began      time.Duration  // when it began
	Until      time.Duration  // when it ends by itself
	CloseQuiet bool           // live connections are closed, each in a quiet moment
	From       netip.AddrPort // the last master before it; not valid: there was none

	// Ended is when it ended, for whatever reason: its clients wait for a
	// consistent read that began afterwards, since a switchover may be over that
	// this process has not heard of. 0: it lasts.
	Ended time.Duration `json:"-"`
}

// Order asks for a pause.
type Order struct {
	By         string // who asks: nobody else may move its end
	For        time.Duration
	CloseQuiet bool
	Move       bool // the end of a pause that lasts, and nothing else
}

// OthersError says that a label is paused by somebody else.
type OthersError struct{ By string }

func (e *OthersError) Error() string { return fmt.Sprintf("paused by %q", e.By) }

// OverError says that there is no pause of which the end could be moved.
type OverError struct{}

func (*OverError) Error() string { return "not paused, or not any more" }

// Holds reports whether new clients are held.
func (s State) Holds() bool { return s != State{} }

// Lasts reports whether it has not ended.
func (s State) Lasts() bool { return s.Holds() && s.Ended == 0 }

// Obey begins a pause, or moves the end of the one that lasts. from is the last
// master that the label had.
func (s State) Obey(o Order, from netip.AddrPort, now time.Duration) (State, error) {
	s = s.At(now)
	switch {
	case !s.Lasts() && o.Move:
		return s, &OverError{}
	case !s.Lasts():
		return State{By: o.By, Began: now, Until: now + o.For, CloseQuiet: o.CloseQuiet, From: from}, nil
	case s.By != o.By:
		return s, &OthersError{By: s.By}
	}
	s.Until, s.CloseQuiet = now+o.For, s.CloseQuiet || o.CloseQuiet
	return s, nil
}

// Resume ends it, if it is by's; empty: whoever's.
func (s State) Resume(by string, now time.Duration) (State, error) {
	if s.Lasts() && by != "" && s.By != by {
		return s, &OthersError{By: s.By}
	}
	return s.end(now), nil
}

// Elected takes that m is the master: another one than before ends the pause.
// The same one, back after a loss, does not.
func (s State) Elected(m netip.AddrPort, now time.Duration) State {
	if !m.IsValid() || m == s.From {
		return s
	}
	return s.end(now)
}

// At is what has become of it at now, if nothing else has ended it.
func (s State) At(now time.Duration) State {
	if !s.Lasts() || now < s.Until {
		return s
	}
	return s.end(now)
}

// Confirmed takes that a consistent read that began at begun has named the
// present master: then clients may go there, if the pause had ended before.
func (s State) Confirmed(begun time.Duration) State {
	if s.Holds() && !s.Lasts() && begun > s.Ended {
		return State{}
	}
	return s
}

func (s State) end(now time.Duration) State {
	if s.Lasts() {
		s.Ended = now
	}
	return s
}
