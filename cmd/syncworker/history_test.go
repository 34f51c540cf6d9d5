package main

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestMasterOfTheSameEpochOfAnotherHistoryDeposes: a Consul that was wiped counts
// epochs from 1 again, and a group that was restored there must not be written over.
func TestMasterOfTheSameEpochOfAnotherHistoryDeposes(t *testing.T) {
	for name, set := range map[string]inSync{
		"another history":       {Epoch: 1, Members: []member{master}, History: "restored"},
		"another master":        {Epoch: 1, Members: []member{slaveA}, History: "h"},
		"nothing: it was wiped": {},
	} {
		t.Run(name, func(t *testing.T) {
			a := &fakeArbiter{}
			tm := startTerm(t, a, 50*time.Millisecond)
			f := admitted(t, tm, a, slaveA)
			tm.leave(f)
			a.set(set)
			wantRefused(t, put(tm, 1))
			if !a.now.equal(set) {
				t.Errorf("set got %+v; want %+v untouched", a.now, set)
			}
		})
	}
}

// TestNothingIsAcknowledgedWhileTheSetSaysThatNobodyHasWritten: else a newer backup
// could still take the record's place.
func TestNothingIsAcknowledgedWhileTheSetSaysThatNobodyHasWritten(t *testing.T) {
	a := &fakeArbiter{}
	l := &lease{ttl: time.Hour}
	l.begin(time.Now())
	a.now = inSync{Epoch: 1, Members: []member{master}, History: "h", Restored: &point{History: "old", Epoch: 7}, Pristine: true}
	a.index = 1
	tm := newTerm(t.Context(), a.now, a.index, master, newStore(), l, a, 0, zerolog.New(zerolog.NewTestWriter(t)))
	t.Cleanup(tm.close)
	admitted(t, tm, a, slaveA)
	if !tm.untouched() || !a.now.Pristine {
		t.Error("a slave in sync counts as a write; want the set pristine")
	}
	a.mu.Lock()
	a.fail = 3 // the set cannot be written at first
	a.mu.Unlock()
	done := put(tm, 1)
	tm.mu.Lock()
	f := tm.slave
	tm.mu.Unlock()
	eventually(t, "it is acknowledged", func() bool {
		tm.ack(f, tm.store.size())
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(done) > 0 && a.now.Pristine {
			t.Fatal("acknowledged while the set is pristine")
		}
		return len(done) > 0
	})
	wantAcknowledged(t, done)
	if got := a.members(); len(got) != 2 || tm.untouched() {
		t.Errorf("set got members %v, untouched %v; want master and slave as before, and false", got, tm.untouched())
	}
}
