package pausing

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	before  = netip.MustParseAddrPort("10.0.0.1:1")
	another = netip.MustParseAddrPort("10.0.0.2:1")
)

// begun is a pause of a minute that began at 100 s.
func begun(t *testing.T) State {
	t.Helper()
	s, err := State{}.Obey(Order{By: "op", For: time.Minute}, before, 100*time.Second)
	if err != nil || !s.Holds() || !s.Lasts() || s.Until != 160*time.Second {
		t.Fatalf("got %+v, %v; want a pause until 160s", s, err)
	}
	return s
}

func TestClientsWaitForAReadThatBeganAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(State) State{
		"resumed":        func(s State) State { s, _ = s.Resume("op", 160*time.Second); return s },
		"over":           func(s State) State { return s.At(160 * time.Second) },
		"another master": func(s State) State { return s.Elected(another, 160*time.Second) },
	} {
		s := begun(t)
		if got := s.Confirmed(time.Hour); got != s {
			t.Errorf("%s: a read of while it lasts: got %+v; want no change", name, got)
		}
		s = end(s)
		if s.Lasts() || !s.Holds() || s.Ended != 160*time.Second {
			t.Fatalf("%s: got %+v; want it ended at 160s, and clients held", name, s)
		}
		if got := s.Confirmed(160 * time.Second); got != s {
			t.Errorf("%s: a read that began with the end: got %+v; want no change", name, got)
		}
		if got := s.Confirmed(160*time.Second + 1); got.Holds() {
			t.Errorf("%s: a read that began afterwards: got %+v; want nobody held", name, got)
		}
	}
}

func TestWhatDoesNotEndAPause(t *testing.T) {
	s := begun(t)
	for name, got := range map[string]State{
		"not yet":         s.At(160*time.Second - 1),
		"the same master": s.Elected(before, 110*time.Second),
		"no master":       s.Elected(netip.AddrPort{}, 110*time.Second),
	} {
		if got != s {
			t.Errorf("%s: got %+v; want %+v", name, got, s)
		}
	}
	others := (*OthersError)(nil)
	if got, err := s.Resume("else", 110*time.Second); got != s || !errors.As(err, &others) {
		t.Errorf("resumed by another: got %+v, %v; want no change", got, err)
	}
}

func TestOrderAboutAPauseThatIsThere(t *testing.T) {
	s := begun(t)
	others, over := (*OthersError)(nil), (*OverError)(nil)
	if got, err := s.Obey(Order{By: "else", For: time.Minute}, before, 110*time.Second); got != s || !errors.As(err, &others) || others.By != "op" {
		t.Errorf("by another: got %+v, %v; want it refused", got, err)
	}
	moved, err := s.Obey(Order{By: "op", For: time.Minute, CloseQuiet: true, Move: true}, another, 110*time.Second)
	if want := (State{By: "op", Began: s.Began, Until: 170 * time.Second, CloseQuiet: true, From: before}); err != nil || moved != want {
		t.Errorf("by the same: got %+v, %v; want %+v", moved, err, want)
	}
	// One whose time is over is none, though nobody has said so yet.
	if got, err := s.Obey(Order{By: "op", For: time.Minute, Move: true}, before, 160*time.Second); got.Lasts() || !errors.As(err, &over) {
		t.Errorf("move when it is over: got %+v, %v; want it refused", got, err)
	}
	if got, err := s.Obey(Order{By: "else", For: time.Minute}, another, 160*time.Second); err != nil || got.By != "else" || got.From != another {
		t.Errorf("by another when it is over: got %+v, %v; want a pause of his", got, err)
	}
}
