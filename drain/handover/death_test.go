package handover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wantDeath wants that s, and whoever took over from it, is found dead.
func wantDeath(t *testing.T, s *Successor, want string) {
	t.Helper()
	if how, err := s.AwaitDeath(soon(t)); err != nil || how != want {
		t.Errorf("await death: got %q, %v; want %q", how, err, want)
	}
	s.Close()
}

func wantOrderlyEnd(t *testing.T, s *Successor) {
	t.Helper()
	if how, err := s.AwaitDeath(soon(t)); !errors.Is(err, ErrEnded) {
		t.Errorf("await death: got %q, %v; want ErrEnded", how, err)
	}
	s.Close()
}

// wantLife wants that somebody serves still, as far as s tells. It waits for
// longer than the end of a process is looked at.
func wantLife(t *testing.T, s *Successor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), exitDelay+200*time.Millisecond)
	defer cancel()
	if how, err := s.AwaitDeath(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await death: got %q, %v; want that it lives", how, err)
	}
}

func TestDeathOfTheSuccessorIsTold(t *testing.T) {
	for command, want := range map[string]string{"die": "signal: killed", "exit 4": "exit status 4"} {
		s, address := begin(t, "serves")
		takesOver(t, s)
		ask(t, address, command)
		wantDeath(t, s, want)
	}
}

func TestDeathIsToldThoughAnotherProcessHasTheConnection(t *testing.T) {
	s, address := beginScript(t, "serves", `sleep 1000 & exec "$SELF"`)
	takesOver(t, s)
	ask(t, address, "die")
	wantDeath(t, s, "signal: killed")
}

func TestEndInGoodOrderIsNoDeath(t *testing.T) {
	s, address := begin(t, "serves")
	takesOver(t, s)
	ask(t, address, "end in good order")
	wantOrderlyEnd(t, s)
}

// A program of before hangs up when it has taken over, and says nothing more.
func TestExitStatusTellsOfASuccessorThatHungUp(t *testing.T) {
	for command, wantEnd := range map[string]func(*testing.T, *Successor){
		"exit 0": wantOrderlyEnd,
		"exit 4": func(t *testing.T, s *Successor) { wantDeath(t, s, "exit status 4") },
	} {
		s, address := begin(t, "serves")
		takesOver(t, s)
		ask(t, address, "hang up")
		ask(t, address, command)
		wantEnd(t, s)
	}
}

// handedOn starts a successor, and one of that; it gives the pid of the first. command
// is how that one hands over.
func handedOn(t *testing.T, command string) (s *Successor, address string, first int) {
	t.Helper()
	s, address = begin(t, "serves")
	takesOver(t, s)
	answer := ask(t, address, command)
	if _, err := fmt.Sscanf(answer, "%d <nil>", &first); err != nil {
		t.Fatalf("hand over: got %q; want a pid", answer)
	}
	if got := ask(t, address, "who"); !strings.HasPrefix(got, "8 ") {
		t.Fatalf("got %q; want generation 8", got)
	}
	t.Cleanup(func() { // of the last one, which is nobody's child any more
		if c := dialOrNil(address); c != nil {
			fmt.Fprintln(c, "die")
			c.Close()
		}
	})
	return s, address, first
}

func TestSuccessorThatHasHandedOverMayDie(t *testing.T) {
	s, address, first := handedOn(t, "hand over")
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantLife(t, s)
	ask(t, address, "die")
	wantDeath(t, s, "signal: killed") // of the first; how the last one ended nobody knows
	wantClosed(t, address)
}

func TestDeathOfTheLastIsNotToldWhileOneBeforeItLives(t *testing.T) {
	s, address, first := handedOn(t, "hand over")
	ask(t, address, "die")
	wantLife(t, s) // it is the first one's to take back
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantDeath(t, s, "signal: killed")
}

func TestDeathOfTheLastIsToldThoughTheOneBetweenEndedInGoodOrder(t *testing.T) {
	s, address, _ := handedOn(t, "hand over and end")
	select {
	case <-s.ended:
	case <-soon(t).Done():
		t.Fatal("the first has not ended")
	}
	ask(t, address, "die")
	wantDeath(t, s, "exit status 0") // of the first
}

func TestEndOfTheLastInGoodOrderIsToldToAllBeforeIt(t *testing.T) {
	s, address, first := handedOn(t, "hand over")
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ask(t, address, "end in good order")
	wantOrderlyEnd(t, s)
}
