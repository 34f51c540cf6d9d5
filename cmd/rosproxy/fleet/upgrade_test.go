package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// signal sends a signal to the generation that serves.
func (i *instance) signal(s syscall.Signal) {
	i.t.Helper()
	pid := i.status().PID
	if err := syscall.Kill(pid, s); err != nil {
		i.t.Fatalf("signal %v to %s, process %d: %v", s, i.name, pid, err)
	}
}

// upgrade replaces the instance by a process of its program, and returns when
// the new generation serves.
func (i *instance) upgrade() {
	i.t.Helper()
	next := i.status().Generation + 1
	i.signal(syscall.SIGUSR2)
	i.awaitGeneration(next)
}

// awaitGeneration waits until a generation serves, and nobody else answers at the
// admin address.
func (i *instance) awaitGeneration(want int) {
	i.t.Helper()
	var s status
	defer func() {
		if i.t.Failed() {
			i.t.Logf("last status of %s: %+v", i.name, s)
		}
	}()
	eventually(i.t, "the next generation of "+i.name+" to have taken over", func() bool {
		return strings.Count(i.process().output(), `"message":"took over from the old process"`) >= want-1
	})
	eventually(i.t, "the next generation of "+i.name, func() bool {
		code, _, err := i.admin("GET", "/status", &s)
		return err == nil && code == 200 && s.Generation == want && s.State == "serving"
	})
	i.awaitReady()
}

func TestTenUpgradesBySignalFailNoRequestAndEndNoStream(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) { upgradeTenTimes(newFleet(t, balancer)) })
	// A balancer would hide a moment without a listener.
	t.Run("no balancer", func(t *testing.T) {
		t.Parallel()
		upgradeTenTimes(newAlone(t))
	})
}

func upgradeTenTimes(f *fleet) {
	f.t.Helper()
	earlier := map[*instance][]int{}
	for range 10 {
		for _, i := range f.instances() {
			earlier[i] = append(earlier[i], i.status().PID)
			i.upgrade()
		}
		f.open(1) // through whichever instance
	}
	f.traffic.flows("after ten upgrades")
	f.wantUntouched("by ten upgrades", f.streams)
	f.wantAllAnswered()
	for _, i := range f.instances() {
		i.wantGenerationsAnswer(earlier[i])
	}

	// The generations of before end with their last stream.
	for _, s := range f.streams {
		s.close()
	}
	for _, i := range f.instances() {
		i.awaitEnded(earlier[i])
		i.wantNoTrouble()
	}
	f.traffic.flows("of the last generation")
	f.wantAllAnswered()
}

// wantGenerationsAnswer checks that each earlier generation that has streams
// answers for itself on a socket of its own.
func (i *instance) wantGenerationsAnswer(pids []int) {
	i.t.Helper()
	sockets, err := filepath.Glob(filepath.Join(i.runtime, "*.sock"))
	if err != nil || len(sockets) == 0 {
		i.t.Fatalf("sockets of the generations of %s that drain: got %d, %v; want some", i.name, len(sockets), err)
	}
	answered := 0
	for _, socket := range sockets {
		client := &http.Client{Timeout: testTimeout, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}}}
		answer, err := client.Get("http://rosproxy/status")
		if err != nil {
			continue // it has just ended: short requests held it
		}
		var s status
		err = json.NewDecoder(answer.Body).Decode(&s)
		answer.Body.Close()
		if n := slices.Index(pids, s.PID); err != nil || n < 0 || s.Generation != n+1 || s.State != "draining" {
			i.t.Errorf("%s: status on %s: got %+v, %v; want that of an earlier generation, draining, in %v", i.name, socket, s, err, pids)
		}
		answered++
	}
	if answered == 0 {
		i.t.Errorf("generations of %s that answer while they drain: got none of %d; want some", i.name, len(sockets))
	}
}

// awaitEnded waits until earlier generations are gone, and checks that they
// have ended well.
func (i *instance) awaitEnded(pids []int) {
	i.t.Helper()
	eventually(i.t, "the end of the earlier generations of "+i.name, func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	})
	// Of one whose parent was still there only that knows how it ended; but one
	// that ended in order has taken its socket away.
	sockets, err := filepath.Glob(filepath.Join(i.runtime, "*"))
	if err != nil || len(sockets) > 0 {
		i.t.Errorf("%s: sockets of generations that are gone: got %v, %v; want none", i.name, sockets, err)
	}
	for pid, s := range i.process().Ended() {
		if !s.Exited() || s.ExitStatus() != 0 {
			i.t.Errorf("%s: process %d ended with %v; want exit status 0", i.name, pid, describe(s))
		}
	}
}

// wantNoTrouble checks that the instance has warned of nothing.
func (i *instance) wantNoTrouble() {
	i.t.Helper()
	for _, l := range i.log() {
		if l.Level == "warn" || l.Level == "error" {
			i.t.Errorf("%s: got %s; want no trouble", i.name, l.text)
		}
	}
}

func TestStreamsOfAnEarlierGenerationEndAtItsDeadline(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "haproxy", fmt.Sprint("--drain-timeout=", drainTimeout))
	mine, others := f.through(f.a)
	begun := time.Now()
	earlier := f.a.status().PID
	f.a.upgrade()
	f.wantEnded(mine, "drain_deadline")
	for _, s := range mine {
		if early := begun.Add(drainTimeout * 4 / 5); s.ended.Before(early) {
			t.Errorf("%v; want it untouched until %s%s", s, clock(early), f.said(s.client))
		}
	}
	f.a.awaitEnded([]int{earlier})
	f.wantUntouched("by the upgrade of a", others)
	f.wantAllAnswered()
}

func TestNewBinaryThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"crashes at start":     "#!/bin/sh\nexit 1\n",
		"killed at start":      "#!/bin/sh\nkill -SEGV $$\n",
		"never becomes ready":  "#!/bin/sh\nexec sleep 600\n",
		"is no program at all": "rosproxy, but not quite\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "haproxy", upgradeFlags...)
			broken := filepath.Join(t.TempDir(), "rosproxy")
			if err := os.WriteFile(broken, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			before := f.a.status()
			f.a.install(broken)
			f.a.signal(syscall.SIGUSR2)
			f.a.logs(upgradeFailed)
			if after := f.a.status(); after.PID != before.PID || after.Generation != before.Generation || after.State != "serving" {
				t.Errorf("state: got %+v; want that of before, %+v", after, before)
			}
			f.traffic.flows("after an upgrade that failed")
			f.wantUntouched("by an upgrade that failed", f.streams)

			// And it is not stuck: with a program that works it goes on.
			f.a.install(binary)
			f.a.upgrade()
			f.traffic.flows("after the upgrade")
			f.wantUntouched("by the upgrade after it", f.streams)
			f.wantAllAnswered()
		})
	}
}

// logs waits until the instance has logged a message.
func (i *instance) logs(message string) {
	i.t.Helper()
	eventually(i.t, i.name+" to log "+message, func() bool { return len(i.logged(message)) > 0 })
}

// What the upgrade is told, and says.
const upgradeFailed = "upgrade failed, going on as before"

var upgradeFlags = []string{"--upgrade-timeout=2s"}
