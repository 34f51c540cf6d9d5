package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestDrainAndUndrain(t *testing.T) {
	_, one, p := follows(t)
	c := p.connected(one)
	stdout, _ := ask(t, exitOK, "drain", p.admin(), "--grace=1h", "--timeout=2h")
	if want := `draining +with 1 live, started \d+s ago, still accepting, deadline in (2h0m|1h59m)`; !regexp.MustCompile(want).MatchString(stdout) {
		t.Errorf("got %q; want %s", stdout, want)
	}
	if stdout, _ = ask(t, exitOK, "status", p.admin()); !strings.Contains(stdout, " draining with 1 live, ") {
		t.Errorf("status: got %q; want the drain", stdout)
	}
	if stdout, _ = ask(t, exitOK, "undrain", p.admin()); !strings.Contains(stdout, "serving") {
		t.Errorf("undrain: got %q; want serving", stdout)
	}
	c.isAlive()
	stdout, _ = ask(t, exitOK, "drain", p.admin(), "--grace=0s", "--json")
	d := decoded[statusDocument](t, stdout)
	if d.Instances[0].Drain == nil || d.Instances[0].Drain.State != "draining" || d.Instances[0].Drain.Active != 1 {
		t.Errorf("got %s; want its drain", stdout)
	}
}

func TestDrainWaitsUntilTheLastConnectionHasEnded(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String())
	q := startProgram(t, "--static-master="+one.l.Addr().String())
	c := p.connected(one)
	var stderr syncBuffer
	var stdout bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- Program{Args: []string{"drain", "--wait", "--grace=0s", p.admin(), q.admin()}, Stdout: &stdout, Stderr: &stderr}.Run(t.Context())
	}()
	eventually(t, "the progress", func() bool { return strings.Contains(stderr.String(), "unix:"+p.socket+" 1 live") })
	select {
	case code := <-ended:
		t.Fatalf("got the end, %d, while a connection lives", code)
	default:
	}
	c.Close()
	if code := <-ended; code != exitOK || strings.Count(stdout.String(), " drained ") != 2 {
		t.Errorf("got %d %q; want 0, and both drained", code, stdout.String())
	}
}

func TestDrainThatEndsTheProcessWaitsUntilItIsGone(t *testing.T) {
	_, one, p := follows(t)
	p.connected(one)
	stdout, _ := ask(t, exitOK, "drain", p.admin(), "--exit", "--wait", "--grace=0s", "--timeout=300ms")
	if !strings.Contains(stdout, "gone") {
		t.Errorf("got %q; want it gone", stdout)
	}
	p.awaitEnd(exitOK)
}

func TestWaitForADrainEndsWhenItIsUndoneOrInterrupted(t *testing.T) {
	_, one, p := follows(t)
	c := p.connected(one)
	for _, how := range []struct {
		end  func(chan<- os.Signal)
		says string
	}{
		{func(chan<- os.Signal) { ask(t, exitOK, "undrain", p.admin()) }, "serves again"},
		{func(signals chan<- os.Signal) { signals <- syscall.SIGINT }, "interrupted (interrupt): the drain goes on"},
	} {
		var stderr syncBuffer
		ended, signals := make(chan int, 1), make(chan os.Signal, 1)
		go func() {
			ended <- Program{Args: []string{"drain", "--wait", "--grace=0s", p.admin()}, Stdout: &syncBuffer{}, Stderr: &stderr, Signals: signals}.Run(t.Context())
		}()
		eventually(t, "the progress", func() bool { return strings.Contains(stderr.String(), "1 live") })
		how.end(signals)
		if code := <-ended; code != exitFailed || !strings.Contains(stderr.String(), "rosproxy: unix:"+p.socket+": ") || !strings.Contains(stderr.String(), how.says) {
			t.Errorf("got %d %q; want 1, and %q", code, stderr.String(), how.says)
		}
	}
	c.isAlive()
	if got := p.drainState()["state"]; got != "draining" {
		t.Errorf("after the interruption: got %v; want draining", got)
	}
}
