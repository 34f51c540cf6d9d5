package drain

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

var configured = Config{Grace: 5 * time.Second, Timeout: 5 * time.Minute}

// inBubble runs f with a running Lifecycle in a bubble of fake time.
func inBubble(t *testing.T, tg *target, f func(t *testing.T, l *Lifecycle)) {
	synctest.Test(t, func(t *testing.T) {
		tg.idle = make(chan struct{}) // a channel of this bubble
		l := New(configured, tg, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- l.Run(ctx) }()
		f(t, l)
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: got %v; want nil", err)
		}
	})
}

func (s State) want(t *testing.T, phase Phase, accepting bool, active int) {
	t.Helper()
	if s.Phase != phase || s.Accepting != accepting || s.Active != active {
		t.Errorf("got %s, accepting %t, %d active; want %s, accepting %t, %d active",
			s.Phase, s.Accepting, s.Active, phase, accepting, active)
	}
}

func isDone(l *Lifecycle) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

func TestServingShowsNoStartAndNoDeadline(t *testing.T) {
	inBubble(t, newTarget(3), func(t *testing.T, l *Lifecycle) {
		s := l.State()
		s.want(t, Serving, true, 3)
		if !s.Started.IsZero() || !s.Deadline.IsZero() || l.Draining() {
			t.Errorf("got started %v, deadline %v, draining %t; want none of them", s.Started, s.Deadline, l.Draining())
		}
	})
}

func TestDrainAcceptsForGraceThenWaitsForTheLastConnection(t *testing.T) {
	tg := newTarget(2)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		begun := time.Now()
		s := l.Start(Options{})
		s.want(t, Draining, true, 2)
		if !l.Draining() {
			t.Error("got ready during grace; want draining at once")
		}
		if !s.Started.Equal(begun) || s.Deadline.Sub(begun) != configured.Timeout {
			t.Errorf("got started %v, deadline %v; want %v and %v later", s.Started, s.Deadline, begun, configured.Timeout)
		}
		time.Sleep(configured.Grace - time.Millisecond)
		synctest.Wait()
		l.State().want(t, Draining, true, 2)
		if !tg.isAccepting() {
			t.Error("got target shut before grace was over; want it accepting")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		l.State().want(t, Draining, false, 2)
		if tg.isAccepting() {
			t.Error("got target accepting after grace; want it shut")
		}
		tg.end()
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
		if isDone(l) {
			t.Error("got done; want the process to stay without exit")
		}
	})
}

func TestDeadlineCountsFromTheStartAndCutsTheRest(t *testing.T) {
	inBubble(t, newTarget(2), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Exit: true})
		time.Sleep(configured.Timeout - time.Millisecond)
		synctest.Wait()
		l.State().want(t, Draining, false, 2)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		l.State().want(t, Stopping, false, 0)
		if !isDone(l) {
			t.Error("got not done; want the process to exit after the deadline")
		}
	})
}

func TestTimeoutShorterThanGraceWins(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Grace: new(time.Minute), Timeout: new(time.Second)})
		time.Sleep(time.Second)
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
	})
}

func TestZeroGraceStopsAcceptingAtOnce(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Grace: new(time.Duration(0))}).want(t, Draining, false, 1)
	})
}

func TestZeroTimeoutCutsAtOnce(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Timeout: new(time.Duration(0))})
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
	})
}

func TestSecondStartChangesNeitherStartNorDeadline(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		first := l.Start(Options{})
		time.Sleep(time.Second)
		again := l.Start(Options{Grace: new(time.Hour), Timeout: new(time.Hour)})
		if !again.Started.Equal(first.Started) || !again.Deadline.Equal(first.Deadline) {
			t.Errorf("got started %v, deadline %v; want %v, %v", again.Started, again.Deadline, first.Started, first.Deadline)
		}
		time.Sleep(configured.Grace - time.Second)
		synctest.Wait()
		l.State().want(t, Draining, false, 1)
	})
}

func TestUndoDuringGraceLeavesTheListenersAlone(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		s, err := l.Undo()
		if err != nil {
			t.Fatalf("Undo: got %v; want nil", err)
		}
		s.want(t, Serving, true, 1)
		if !s.Started.IsZero() || !s.Deadline.IsZero() {
			t.Errorf("got started %v, deadline %v; want neither", s.Started, s.Deadline)
		}
		if tg.resumes != 0 {
			t.Errorf("got %d resumes; want 0", tg.resumes)
		}
		time.Sleep(time.Hour) // neither the grace period nor the deadline of before may fire
		synctest.Wait()
		l.State().want(t, Serving, true, 1)
	})
}

func TestUndoWhileWaitingCutsNothingAndAcceptsAgain(t *testing.T) {
	tg := newTarget(4)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		time.Sleep(time.Minute)
		s, err := l.Undo()
		if err != nil {
			t.Fatalf("Undo: got %v; want nil", err)
		}
		s.want(t, Serving, true, 4)
		if !tg.isAccepting() {
			t.Error("got target shut; want it accepting")
		}
	})
}

func TestUndoAfterTheDrainAcceptsAgain(t *testing.T) {
	tg := newTarget(0)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		time.Sleep(time.Minute)
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
		s, err := l.Undo()
		if err != nil {
			t.Fatalf("Undo: got %v; want nil", err)
		}
		s.want(t, Serving, true, 0)
		if !tg.isAccepting() {
			t.Error("got target shut; want it accepting")
		}
	})
}

func TestDrainCanBeRepeatedAfterUndo(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		first := l.Start(Options{})
		time.Sleep(time.Minute)
		if _, err := l.Undo(); err != nil {
			t.Fatalf("Undo: got %v; want nil", err)
		}
		again := l.Start(Options{Exit: true})
		if got := again.Started.Sub(first.Started); got != time.Minute {
			t.Errorf("got the second drain started %v after the first; want 1m", got)
		}
		time.Sleep(configured.Timeout)
		<-l.Done()
		l.State().want(t, Stopping, false, 0)
	})
}

func TestUndoWithoutADrainChangesNothing(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		s, err := l.Undo()
		if err != nil || tg.resumes != 0 {
			t.Errorf("got error %v, %d resumes; want nil, 0", err, tg.resumes)
		}
		s.want(t, Serving, true, 1)
	})
}

func TestUndoIsRefusedWhenTheDrainEndsWithTheProcess(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Exit: true})
		for range 2 { // during grace, then while waiting
			s, err := l.Undo()
			if !errors.Is(err, ErrStopping) {
				t.Errorf("got %v; want ErrStopping", err)
			}
			if s.Phase != Draining {
				t.Errorf("got %s; want draining", s.Phase)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
}

// TestDrainThatEndsWithTheProcessIsNeverShownAsDrained: who waits for the end of
// the process would go on before it.
func TestDrainThatEndsWithTheProcessIsNeverShownAsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(1)
		tg.idle = make(chan struct{})
		c := configured
		var l *Lifecycle
		var shown []Phase
		c.OnEvent = func(_, message string, _ []any) {
			if message == "drain finished" {
				shown = append(shown, l.State().Phase)
			}
		}
		l = New(c, tg, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- l.Run(ctx) }()
		l.Start(Options{Exit: true})
		time.Sleep(time.Minute)
		tg.end()
		<-l.Done()
		cancel()
		<-ran
		if len(shown) != 1 || shown[0] != Draining {
			t.Errorf("when the drain has finished: got shown as %q; want %q, once", shown, Draining)
		}
	})
}

func TestExitCanBeAddedToARunningDrain(t *testing.T) {
	tg := newTarget(1)
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		first := l.Start(Options{})
		time.Sleep(time.Second)
		s := l.Start(Options{Exit: true})
		s.want(t, Draining, true, 1)
		if !s.Deadline.Equal(first.Deadline) {
			t.Errorf("got deadline %v; want %v", s.Deadline, first.Deadline)
		}
		time.Sleep(time.Minute)
		if isDone(l) {
			t.Error("got done with a live connection; want to wait for it")
		}
		tg.end()
		<-l.Done()
		l.State().want(t, Stopping, false, 0)
	})
}

func TestExitAddedToADrainedProcessEndsItAtOnce(t *testing.T) {
	inBubble(t, newTarget(0), func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		time.Sleep(time.Minute)
		synctest.Wait()
		l.Start(Options{Exit: true}).want(t, Stopping, false, 0)
		if !isDone(l) {
			t.Error("got not done; want done")
		}
		l.Start(Options{Exit: true}).want(t, Stopping, false, 0) // once more is no change
	})
}

func TestFailedResumeLetsTheDrainGoOn(t *testing.T) {
	tg := newTarget(2)
	tg.resumeErr = errors.New("address already in use")
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		first := l.Start(Options{})
		time.Sleep(time.Minute)
		s, err := l.Undo()
		if !errors.Is(err, tg.resumeErr) {
			t.Errorf("Undo: got %v; want %v", err, tg.resumeErr)
		}
		s.want(t, Draining, false, 2)
		if !s.Deadline.Equal(first.Deadline) {
			t.Errorf("got deadline %v; want %v", s.Deadline, first.Deadline)
		}
		tg.failResume(nil)
		if s, err = l.Undo(); err != nil {
			t.Errorf("second Undo: got %v; want nil", err)
		}
		s.want(t, Serving, true, 2)
	})
}

func TestDrainThatCouldNotBeUndoneStillEnds(t *testing.T) {
	tg := newTarget(2)
	tg.resumeErr = errors.New("address already in use")
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		time.Sleep(time.Minute)
		if _, err := l.Undo(); err == nil {
			t.Error("Undo: got nil; want an error")
		}
		time.Sleep(configured.Timeout - time.Minute - time.Millisecond)
		synctest.Wait()
		l.State().want(t, Draining, false, 2)
		time.Sleep(time.Millisecond) // the deadline of before cuts the rest
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
	})
}

func TestLogTellsStartAndEndOfADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder // written by Run alone, read after it
		tg := newTarget(3)
		tg.closes = 1
		l := New(configured, tg, zerolog.New(&b))
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- l.Run(ctx) }()
		l.Start(Options{Exit: true})
		<-l.Done()
		cancel()
		<-ran
		for _, want := range []string{
			`"level":"info","component":"drain","grace_ms":5000,`,
			`"exit":true,"active":3,"message":"drain started"`,
			`"level":"info","component":"drain","duration_ms":300000,"closed":1,"cut":2,"message":"drain finished"`,
		} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("got %s; want it to hold %s", b.String(), want)
			}
		}
	})
}

func TestFailedResumeOfADrainedProcessIsDrainedAgain(t *testing.T) {
	tg := newTarget(0)
	tg.resumeErr = errors.New("address already in use")
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{})
		time.Sleep(time.Minute)
		if _, err := l.Undo(); !errors.Is(err, tg.resumeErr) {
			t.Errorf("Undo: got %v; want %v", err, tg.resumeErr)
		}
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
	})
}

// TestFailedResumeOfADrainedProcessDrainsWhatItLetIn, on a listener that could be opened before another could not.
func TestFailedResumeOfADrainedProcessDrainsWhatItLetIn(t *testing.T) {
	tg := newTarget(0)
	tg.resumeErr = errors.New("address already in use")
	inBubble(t, tg, func(t *testing.T, l *Lifecycle) {
		l.Start(Options{Grace: new(time.Duration)})
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
		tg.active = 1
		if _, err := l.Undo(); !errors.Is(err, tg.resumeErr) {
			t.Errorf("Undo: got %v; want %v", err, tg.resumeErr)
		}
		l.State().want(t, Draining, false, 1)
		tg.end()
		synctest.Wait()
		l.State().want(t, Drained, false, 0)
	})
}

func TestEndOfRunCutsNothingAndAnswersLateAskers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(2)
		l := New(configured, tg, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- l.Run(ctx) }()
		l.Start(Options{})
		time.Sleep(time.Minute)
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: got %v; want nil", err)
		}
		if tg.Active() != 2 {
			t.Errorf("got %d active; want 2", tg.Active())
		}
		if _, err := l.Undo(); !errors.Is(err, ErrStopping) {
			t.Errorf("Undo after Run: got %v; want ErrStopping", err)
		}
		l.Start(Options{Exit: true}) // must return
	})
}
