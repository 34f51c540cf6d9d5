package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

const testTimeout = 20 * time.Second  // for what must happen
const moment = 150 * time.Millisecond // for what must not

var errLost = errors.New("the answer got lost")

// fakeArbiter holds the in-sync set in memory.
type fakeArbiter struct {
	mu      sync.Mutex
	now     inSync
	index   uint64
	fail    int  // so many swaps fail,
	applied bool // having taken effect or not
	check   func(next inSync)
}

func (a *fakeArbiter) swap(_ context.Context, next inSync, index uint64) (inSync, uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fails := a.fail > 0
	if fails {
		a.fail--
	}
	if index == a.index && (!fails || a.applied) {
		if a.check != nil {
			a.check(next)
		}
		a.now, a.index = next, a.index+1
	}
	if fails {
		return inSync{}, 0, errLost
	}
	return a.now, a.index, nil
}

func (a *fakeArbiter) set(s inSync) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now, a.index = s, a.index+1
}

func (a *fakeArbiter) members() []member {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now.Members
}

var master, slaveA, slaveB = member{"1", "a"}, member{"2", "b"}, member{"3", "c"}

// startTerm starts a term of epoch 1 with an hour's lease.
func startTerm(t *testing.T, a *fakeArbiter, alone time.Duration) *term {
	t.Helper()
	l := &lease{ttl: time.Hour}
	l.begin(time.Now())
	a.now, a.index = inSync{Epoch: 1, Members: []member{master}, History: "h"}, 1
	tm := newTerm(t.Context(), a.now, a.index, master, newStore(), l, a, alone, zerolog.New(zerolog.NewTestWriter(t)))
	t.Cleanup(tm.close)
	return tm
}

// put begins to write a record; the channel gets the outcome.
func put(tm *term, n uint64) <-chan error {
	done := make(chan error, 1)
	go func() { done <- tm.put(record{"c", n}) }()
	return done
}

func wantAcknowledged(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("put got %v; want it acknowledged", err)
		}
	case <-time.After(testTimeout):
		t.Fatalf("put was not acknowledged in %v", testTimeout)
	}
}

func wantPending(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("put got %v; want it to wait", err)
	case <-time.After(moment):
	}
}

func wantRefused(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, errDeposed) {
			t.Fatalf("put got %v; want %v", err, errDeposed)
		}
	case <-time.After(testTimeout):
		t.Fatalf("put was not answered in %v", testTimeout)
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", testTimeout, what)
		}
	}
}

// admitted joins m as slave and waits until it is in the set.
func admitted(t *testing.T, tm *term, a *fakeArbiter, m member) *follower {
	t.Helper()
	f := &follower{member: m}
	tm.join(f, true)
	eventually(t, m.ID+" is admitted", func() bool {
		tm.ack(f, tm.store.size())
		got := a.members()
		return len(got) == 2 && got[1] == m && tm.inSyncSlave() == m.ID
	})
	return f
}

func TestRecordIsAcknowledgedOnlyWhenTheSlaveHasIt(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0)
	first := put(tm, 1)
	wantPending(t, first) // no slave yet
	f := admitted(t, tm, a, slaveA)
	wantAcknowledged(t, first)
	second := put(tm, 2)
	wantPending(t, second)
	tm.ack(f, 2)
	wantAcknowledged(t, second)
	wantAcknowledged(t, put(tm, 1)) // a repeat of what it has
}

func TestFollowerIsRequiredBeforeTheSetNamesItAndHasAllThatWasAcknowledged(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, time.Millisecond) // soon alone
	for n := uint64(1); n <= 20; n++ {
		wantAcknowledged(t, put(tm, n))
	}
	f := &follower{member: slaveA}
	a.mu.Lock()
	a.check = func(next inSync) { // called within a swap
		if len(next.Members) < 2 {
			return
		}
		tm.mu.Lock()
		defer tm.mu.Unlock()
		if !tm.required[f] || f.acked < tm.commit {
			t.Errorf("set names the slave while required is %v and it has %d of %d acknowledged; want true and all",
				tm.required[f], f.acked, tm.commit)
		}
	}
	a.mu.Unlock()
	tm.join(f, true)
	tm.ack(f, 5) // complete as of a while ago
	time.Sleep(moment)
	if got := a.members(); len(got) != 1 {
		t.Fatalf("set got %v while the slave has 5 of 20 records; want the master alone", got)
	}
	eventually(t, "slave is admitted", func() bool { tm.ack(f, 20); return len(a.members()) == 2 })
}

func TestBrokenSlaveIsStillWaitedForUntilTheSetDropsIt(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0) // never alone
	f := admitted(t, tm, a, slaveA)
	tm.leave(f)
	done := put(tm, 1)
	wantPending(t, done) // it may live, and take over
	admitted(t, tm, a, slaveB)
	wantAcknowledged(t, done)
	if got := a.members(); got[1] != slaveB {
		t.Errorf("set got %v; want %v in place of %v", got, slaveB, slaveA)
	}
}

func TestMasterGoesAloneOnlyAfterTakingTheSlaveOut(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 50*time.Millisecond)
	f := admitted(t, tm, a, slaveA)
	tm.leave(f)
	wantAcknowledged(t, put(tm, 1))
	if got := a.members(); len(got) != 1 || got[0] != master {
		t.Errorf("set got %v when the master acknowledged alone; want only the master", got)
	}
}

func TestLostAnswerOfTheArbiterNeverLetsASlaveFallBehind(t *testing.T) {
	for name, applied := range map[string]bool{"write took effect": true, "write did not": false} {
		t.Run(name, func(t *testing.T) {
			a := &fakeArbiter{}
			tm := startTerm(t, a, 20*time.Millisecond)
			wantAcknowledged(t, put(tm, 1)) // alone
			a.mu.Lock()
			a.fail, a.applied = 3, applied
			a.mu.Unlock()
			f := &follower{member: slaveA}
			tm.join(f, true)
			eventually(t, "a swap was tried", func() bool {
				tm.ack(f, tm.store.size())
				a.mu.Lock()
				defer a.mu.Unlock()
				return a.fail < 3
			})
			tm.leave(f)
			wantAcknowledged(t, put(tm, 2)) // when the set is known not to name it any more
			if got := a.members(); len(got) != 1 {
				t.Errorf("set got %v after an acknowledgement without the slave; want the master alone", got)
			}
		})
	}
}

func TestDeposedMasterNeverAcknowledges(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 50*time.Millisecond)
	f := admitted(t, tm, a, slaveA)
	tm.leave(f) // it takes over:
	a.set(inSync{Epoch: 2, Members: []member{slaveA}})
	wantRefused(t, put(tm, 1))
	wantRefused(t, put(tm, 2))
	if got := a.now.Epoch; got != 2 {
		t.Errorf("epoch got %d; want 2", got)
	}
}

func TestLapsedLeaseStopsAcknowledgement(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0)
	f := admitted(t, tm, a, slaveA)
	done := put(tm, 1)
	wantPending(t, done)
	tm.lease.begin(time.Now().Add(-2 * time.Hour)) // as for a process that was frozen
	tm.ack(f, 1)
	wantRefused(t, done)
}

func TestNothingIsStoredOnceTheOfficeIsClosed(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0)
	done := put(tm, 1)
	eventually(t, "record is stored", func() bool { return tm.store.size() == 1 })
	tm.close()
	wantRefused(t, done)
	wantRefused(t, put(tm, 2))
	if got := tm.store.size(); got != 1 {
		t.Errorf("store got %d records; want the 1 of before", got)
	}
}

func TestHungSlaveIsNotWaitedForTwice(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 50*time.Millisecond)
	f := admitted(t, tm, a, slaveA) // and hangs from now on, connected
	wantAcknowledged(t, put(tm, 1)) // alone, without it
	tm.mu.Lock()
	f.heard = time.Now().Add(-time.Hour)
	tm.mu.Unlock()
	for n := uint64(2); n < 30; n++ {
		wantAcknowledged(t, put(tm, n))
	}
	if got := tm.inSyncSlave(); got != "" {
		t.Errorf("slave in sync got %q; want none", got)
	}
	admitted(t, tm, a, slaveA) // it is back
}
