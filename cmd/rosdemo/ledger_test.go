package main

import (
	"testing"
	"time"
)

func TestLostRecordsAreThoseAcknowledgedAndNotHeld(t *testing.T) {
	l := newLedger()
	now := time.Now()
	for n := uint64(1); n <= 3; n++ {
		l.ack("a", n, "1", 1, now)
		l.ack("b", n, "1", 1, now)
	}
	held := map[record]bool{{"a", 1}: true, {"a", 3}: true, {"a", 4}: true, {"b", 1}: true, {"b", 2}: true, {"c", 9}: true}
	if got := l.missing(held); got != 2 { // a 2 and b 3; what is held beyond that does not matter
		t.Errorf("missing got %d; want 2", got)
	}
	if got := l.missing(nil); got != 6 {
		t.Errorf("missing from an empty copy got %d; want 6", got)
	}
}

func TestAnswersOfAReplacedMasterAreStaleOnceItsConnectionsAreCut(t *testing.T) {
	l := newLedger()
	now := time.Now()
	l.ack("a", 1, "1", 1, now)
	l.ack("b", 1, "2", 2, now) // the next one, before the cut is known
	l.ack("a", 2, "1", 1, now) // the old one, before the cut
	l.refuse("1")
	if got := l.count(); got.stale != 0 || got.refused != 1 {
		t.Errorf("before the cut got %d stale, %d refused; want 0, 1", got.stale, got.refused)
	}
	l.fence(2, "1")
	l.ack("a", 3, "1", 1, now)
	l.refuse("1")
	l.ack("b", 2, "2", 2, now)
	l.refuse("2")
	if got := l.count().stale; got != 2 {
		t.Errorf("after the cut got %d stale; want 2", got)
	}
}

func TestWaitIsCountedOverAllAttempts(t *testing.T) {
	l := newLedger()
	l.asked("a")
	l.waiting["a"] = time.Now().Add(-time.Hour)
	l.asked("a") // again, over another connection
	if got := l.count().waiting; got != 1 {
		t.Errorf("waiting got %d; want 1", got)
	}
	l.ack("a", 1, "1", 1, time.Now())
	if got := l.count(); got.longest < time.Hour || got.waiting != 0 {
		t.Errorf("longest wait got %v, waiting %d; want an hour, 0", got.longest, got.waiting)
	}
}

func TestFirstAcknowledgementIsThatOfTheNewestEpoch(t *testing.T) {
	l := newLedger()
	now := time.Now()
	l.ack("a", 1, "1", 1, now)
	l.ack("a", 2, "2", 2, now.Add(time.Second))
	l.ack("b", 1, "2", 2, now.Add(2*time.Second))
	l.ack("c", 1, "1", 1, now.Add(3*time.Second))
	if at, by := l.firstAck(); by != "2" || !at.Equal(now.Add(time.Second)) {
		t.Errorf("first acknowledgement got %v by worker %s; want %v by worker 2", at, by, now.Add(time.Second))
	}
}

func TestTraceMarksWhenRecordsWereAcknowledged(t *testing.T) {
	l := newLedger()
	begin := time.Unix(1000, 0)
	for _, slot := range []time.Duration{0, 1, 4} {
		l.ack("a", 1, "1", 1, begin.Add(slot*traceSlot))
	}
	if got, want := l.trace(begin, begin.Add(5*traceSlot)), "##..#"; got != want {
		t.Errorf("trace got %q; want %q", got, want)
	}
}
