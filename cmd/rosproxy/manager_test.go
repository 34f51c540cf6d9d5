package main

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestStuckShardStopsTheWatchdogsPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		m := &manager{send: r.send, log: zerolog.Nop()}
		var stuck atomic.Bool
		settled := make(chan struct{})
		close(settled)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- m.watchdog(ctx, settled, 10*time.Second, func(ctx context.Context) error {
				if stuck.Load() {
					<-ctx.Done()
				}
				return ctx.Err()
			})
		}()
		time.Sleep(31 * time.Second)
		if got := r.count("WATCHDOG=1"); got != 7 {
			t.Errorf("got %d pings in 31 s; want 7, one every 5 s", got)
		}
		stuck.Store(true)
		time.Sleep(time.Minute)
		if got := r.count("WATCHDOG=1"); got != 7 {
			t.Errorf("got %d pings with a stuck shard; want the 7 of before", got)
		}
		stuck.Store(false)
		time.Sleep(11 * time.Second)
		if got := r.count("WATCHDOG=1"); got < 8 {
			t.Errorf("got %d pings after it went on; want more", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v; want nil", err)
		}
	})
}

func TestStatusIsToldWhenItIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		m := &manager{send: r.send, log: zerolog.Nop()}
		var status atomic.Value
		status.Store("serving: default 10.0.0.1:7800")
		settled, exiting := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.run(ctx, settled, exiting, func() string { return status.Load().(string) }) }()
		synctest.Wait()
		if len(r.words) > 0 {
			t.Errorf("got %q before connections are accepted; want nothing", r.words)
		}
		close(settled)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		status.Store("draining: 3 live\nMAINPID=1") // a label has no control characters; if it had
		close(exiting)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want := "READY=1|STATUS=serving: default 10.0.0.1:7800|STOPPING=1|STATUS=draining: 3 live MAINPID=1"
		if got := strings.Join(r.words, "|"); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
		m.succeeded(42)
		m.say("READY=1")
		if got := r.words[len(r.words)-1]; got != "MAINPID=42" {
			t.Errorf("got %q last; want silence after MAINPID=42", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v; want nil", err)
		}
	})
}

func TestGivenSocketsAreMatchedByName(t *testing.T) {
	two := []proxy.Listener{{Label: "europe"}, {Label: "asia"}}
	for _, c := range []struct {
		name      string
		listeners []proxy.Listener
		given     string
		want      string // empty: an error
	}{
		{"labels", two, "asia europe admin agent-check", "listen asia,listen europe,admin,agent-check"},
		{"the only listener takes what has no name", two[:1], "unknown admin", "listen europe,admin"},
		{"the name of the unit is no name", two[:1], "rosproxy.socket", "listen europe"},
		{"no name at all", two[:1], "LISTEN_FD_3", "listen europe"},
		{"of two listeners none takes what has no name", two, "rosproxy.socket", "rosproxy.socket"},
		{"what has a name is not somebody else's", two[:1], "africa", "africa"},
		{"a label comes before the endpoint", []proxy.Listener{{Label: "admin"}}, "admin", "listen admin"},
		{"two for one label", two, "asia asia", ""},
		{"two without a name", two[:1], "unknown unknown", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var i inheritance
			for name := range strings.FieldsSeq(c.given) {
				null, err := os.Open(os.DevNull)
				if err != nil {
					t.Fatal(err)
				}
				i.activated = append(i.activated, os.NewFile(null.Fd(), name))
				t.Cleanup(func() { null.Close() })
			}
			g, err := newGiven(i, c.listeners)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "two sockets") {
					t.Fatalf("got %v; want an error", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range g.sockets {
				names = append(names, s.Name)
				if !s.Shared {
					t.Errorf("%s: got a socket of our own; want it to be systemd's", s.Name)
				}
			}
			if got := strings.Join(names, ","); got != c.want {
				t.Errorf("got %s; want %s", got, c.want)
			}
			if _, ok := g.take("nope"); ok {
				t.Error("took a socket that was not given")
			}
			if err := g.close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestNewProcessIsNotToldWhatWasSaidToTheOld(t *testing.T) {
	env := []string{"A=1", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "WATCHDOG_PID=1", "WATCHDOG_USEC=5", "NOTIFY_SOCKET=/n", handover.Variable + "X=1"}
	if got, want := strings.Join(withoutManager(env, true), " "), "A=1 WATCHDOG_USEC=5 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := strings.Join(withoutManager(env, false), " "), "A=1 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
