package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func isExiting(l *Lifecycle) bool {
	select {
	case <-l.Exiting():
		return true
	default:
		return false
	}
}

func released() error { return nil }

func TestSuccessionDrainsWithoutGraceAndExits(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		err := l.Succeed(func() error {
			l.State().want(t, Serving, true, 1)
			return nil
		})
		if err != nil {
			t.Fatalf("got %v; want nil", err)
		}
		l.State().want(t, Draining, false, 1)
		if isExiting(l) {
			t.Error("got exiting; want that only for an end that somebody asked for")
		}
		if _, err := l.Undo(); !errors.Is(err, ErrStopping) {
			t.Errorf("undo: got %v; want ErrStopping", err)
		}
		tg.end()
		synctest.Wait()
		if !isDone(l) {
			t.Error("got a process that stays; want it to exit after its last connection")
		}
	})
}

func TestFailedSuccessionChangesNothing(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		fault := errors.New("it has ended")
		if err := l.Succeed(func() error { return fault }); !errors.Is(err, fault) {
			t.Errorf("got %v; want the error of the release", err)
		}
		l.State().want(t, Serving, true, 1)
		if err := l.Reclaim(); !errors.Is(err, ErrStopping) {
			t.Errorf("reclaim: got %v; want ErrStopping", err)
		}
		l.State().want(t, Serving, true, 1)
	})
}

func TestDrainThatBeganFirstPreventsASuccession(t *testing.T) {
	for name, o := range map[string]Options{"one that can be undone": {}, "one that ends the process": {Exit: true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
				l.Start(o)
				err := l.Succeed(func() error {
					t.Error("released while draining; want it refused")
					return nil
				})
				if !errors.Is(err, ErrDraining) {
					t.Errorf("got %v; want ErrDraining", err)
				}
			})
		})
	}
}

func TestWhileServingEndsWhenADrainStarts(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		isOver := func(ctx context.Context) bool { synctest.Wait(); return ctx.Err() != nil }
		first, cancelFirst := l.WhileServing(t.Context())
		defer cancelFirst()
		cancelled, cancel := l.WhileServing(t.Context())
		cancel()
		if isOver(first) || !isOver(cancelled) {
			t.Errorf("got %v, %v; want the second to have ended, not the first", first.Err(), cancelled.Err())
		}
		l.Start(Options{})
		if !isOver(first) || !errors.Is(context.Cause(first), ErrDraining) {
			t.Errorf("got %v; want it ended by the drain", context.Cause(first))
		}
		late, cancelLate := l.WhileServing(t.Context())
		defer cancelLate()
		if !isOver(late) || !errors.Is(context.Cause(late), ErrDraining) {
			t.Errorf("while draining: got %v; want ErrDraining", context.Cause(late))
		}
		if _, err := l.Undo(); err != nil {
			t.Fatal(err)
		}
		again, cancelAgain := l.WhileServing(t.Context())
		defer cancelAgain()
		if isOver(again) {
			t.Errorf("after the drain was undone: got %v; want it to go on", context.Cause(again))
		}
	})
}

func TestReclaimServesAgain(t *testing.T) {
	tg := newTarget(2)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		if err := l.Succeed(released); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := l.Reclaim(); err != nil {
			t.Fatalf("reclaim: %v", err)
		}
		l.State().want(t, Serving, true, 2)
		if tg.reclaims != 1 || tg.resumes != 0 {
			t.Errorf("got %d reclaims, %d resumes; want 1, 0", tg.reclaims, tg.resumes)
		}
		time.Sleep(configured.Timeout) // the deadline of before must not fire
		synctest.Wait()
		l.State().want(t, Serving, true, 2)
		if err := l.Succeed(released); err != nil { // and it can be replaced again
			t.Errorf("second succession: %v", err)
		}
		l.State().want(t, Draining, false, 2)
	})
}

// TestProcessThatServesAgainEndsAsAnyOther: that another had taken over is forgotten.
func TestProcessThatServesAgainEndsAsAnyOther(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		if err := l.Succeed(released); err != nil {
			t.Fatal(err)
		}
		if err := l.Reclaim(); err != nil {
			t.Fatal(err)
		}
		l.Start(Options{Grace: new(time.Duration), Exit: true})
		l.Start(Options{Exit: true})
		if err := l.Reclaim(); !errors.Is(err, ErrStopping) {
			t.Errorf("got %v; want ErrStopping", err)
		}
		l.State().want(t, Draining, false, 1)
	})
}

func TestReclaimIsRefusedWhenTheEndWasAskedFor(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		if err := l.Succeed(released); err != nil {
			t.Fatal(err)
		}
		l.Start(Options{}) // asks for nothing that is not so already
		if isExiting(l) {
			t.Error("got exiting; want it not to be")
		}
		l.Start(Options{Exit: true})
		l.Start(Options{Exit: true})
		if !isExiting(l) {
			t.Error("got not exiting; want it to be")
		}
		if err := l.Reclaim(); !errors.Is(err, ErrStopping) {
			t.Errorf("got %v; want ErrStopping", err)
		}
		l.State().want(t, Draining, false, 1)
	})
}

func TestReclaimIsRefusedAfterTheLastConnection(t *testing.T) {
	inBubble(t, newTarget(0), func(t *testing.T, l *Lifecycle) {
		if err := l.Succeed(released); err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		if err := l.Reclaim(); !errors.Is(err, ErrStopping) {
			t.Errorf("got %v; want ErrStopping", err)
		}
		l.State().want(t, Stopping, false, 0)
	})
}

func TestFailedReclaimLetsTheDrainGoOn(t *testing.T) {
	tg := newTarget(2)
	tg.resumeErr = errors.New("they are closed")
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		if err := l.Succeed(released); err != nil {
			t.Fatal(err)
		}
		if err := l.Reclaim(); !errors.Is(err, tg.resumeErr) {
			t.Errorf("got %v; want %v", err, tg.resumeErr)
		}
		l.State().want(t, Draining, false, 2)
		time.Sleep(configured.Timeout)
		<-l.Done()
		l.State().want(t, Stopping, false, 0)
	})
}

func TestExitThatIsAddedToADrainIsSaid(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		if isExiting(l) {
			t.Error("got exiting; want it not to be")
		}
		l.Start(Options{Exit: true})
		l.Start(Options{Exit: true})
		if !isExiting(l) {
			t.Error("got not exiting; want it to be")
		}
	})
}
