package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func TestStuckShardStopsTheWatchdogsPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		n := NewNotifier(r.send, zerolog.Nop())
		var stuck atomic.Bool
		settled := make(chan struct{})
		close(settled)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- n.Watchdog(ctx, settled, 10*time.Second, func(ctx context.Context) error {
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
		n := NewNotifier(r.send, zerolog.Nop())
		var status atomic.Value
		status.Store("serving: default 10.0.0.1:7800")
		settled, exiting := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- n.Run(ctx, settled, exiting, func() string { return status.Load().(string) }) }()
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
		n.Succeeded(42)
		n.say("READY=1")
		if got := r.words[len(r.words)-1]; got != "MAINPID=42" {
			t.Errorf("got %q last; want silence after MAINPID=42", got)
		}
		n.Reclaimed()
		if got, want := r.words[len(r.words)-1], fmt.Sprintf("MAINPID=%d\nREADY=1", os.Getpid()); got != want {
			t.Errorf("got %q last; want %q when that has died", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v; want nil", err)
		}
	})
}

// recorder is a service manager in the test's process.
type recorder struct {
	mu    sync.Mutex
	words []string
}

func (r *recorder) send(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, text)
	return nil
}

func (r *recorder) count(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.words {
		if w == text {
			n++
		}
	}
	return n
}
