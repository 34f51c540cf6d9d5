package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func isExiting(m *Machine) bool {
	select {
	case <-m.Exiting():
		return true
	default:
		return false
	}
}

func TestSuccessionDrainsWithoutGraceAndExits(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, m *Machine) {
		err := m.Succeed(func(context.Context) error {
			m.State().want(t, Serving, true, 1)
			return nil
		})
		if err != nil {
			t.Fatalf("got %v; want nil", err)
		}
		m.State().want(t, Draining, false, 1)
		if !isExiting(m) {
			t.Error("got no word of the exit; want one")
		}
		if _, err := m.Undo(); !errors.Is(err, ErrStopping) {
			t.Errorf("undo: got %v; want ErrStopping", err)
		}
		tg.end()
		synctest.Wait()
		if !isDone(m) {
			t.Error("got a process that stays; want it to exit after its last connection")
		}
	})
}

func TestFailedSuccessionChangesNothing(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, m *Machine) {
		fault := errors.New("it has ended")
		if err := m.Succeed(func(context.Context) error { return fault }); !errors.Is(err, fault) {
			t.Errorf("got %v; want the error of the commit", err)
		}
		m.State().want(t, Serving, true, 1)
		if isExiting(m) {
			t.Error("got an exit; want none")
		}
	})
}

func TestDrainAndSuccessionExcludeEachOther(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, m *Machine) {
		started := make(chan State, 1)
		err := m.Succeed(func(context.Context) error {
			go func() { started <- m.Start(Options{Grace: new(time.Hour)}) }()
			time.Sleep(time.Second)
			m.State().want(t, Serving, true, 1) // the drain waits for the commit
			return errors.New("it has ended")
		})
		if err == nil {
			t.Fatal("got nil; want the error of the commit")
		}
		(<-started).want(t, Draining, true, 1)
		err = m.Succeed(func(context.Context) error {
			t.Error("committed while draining; want it refused")
			return nil
		})
		if !errors.Is(err, ErrDraining) {
			t.Errorf("got %v; want ErrDraining", err)
		}
	})
}

func TestExitThatIsAddedToADrainIsSaid(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, m *Machine) {
		m.Start(Options{})
		if isExiting(m) {
			t.Error("got an exit; want none")
		}
		m.Start(Options{Exit: true})
		m.Start(Options{Exit: true})
		if !isExiting(m) {
			t.Error("got no word of the exit; want one")
		}
	})
}
