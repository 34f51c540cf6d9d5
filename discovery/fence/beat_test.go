package fence

import (
	"testing"
	"time"
)

const ttl = 10 * time.Second // the lease is 8 s

// standing is a beat whose entry stands, by a write that began at begun.
func standing(t *testing.T, begun time.Duration) Beat {
	t.Helper()
	b := Beat{TTL: ttl}.Begin(begun, 1)
	if b = b.Answered(begun+time.Second, b.Pending, 7); !b.Stands || b.Index != 7 || b.Acked != 1 || b.Ends() != begun+8*time.Second {
		t.Fatalf("got %+v; want an entry that stands by its first write", b)
	}
	return b
}

func TestLeaseCountsFromTheBeginOfTheLastWriteThatSucceeded(t *testing.T) {
	b := standing(t, time.Minute)
	if b.IsOver(time.Minute+8*time.Second-1) || !b.IsOver(time.Minute+8*time.Second) {
		t.Error("got another end of the lease; want four fifths of the TTL after the begin of the write")
	}
	next := b.Begin(time.Minute+2*time.Second, 1)
	if next.Ends() != b.Ends() {
		t.Errorf("got a lease until %v by a write without an answer; want %v still", next.Ends(), b.Ends())
	}
	if next = next.Answered(time.Minute+3*time.Second, next.Pending, 9); next.Ends() != time.Minute+10*time.Second {
		t.Errorf("got a lease until %v; want it from the second write on", next.Ends())
	}
	if (Beat{TTL: ttl}).Ends() != 0 || (Beat{TTL: ttl}).IsOver(time.Hour) {
		t.Error("got a lease without an entry")
	}
}

func TestWritesComeEveryFifthOfTheTTLAndForEachChange(t *testing.T) {
	b := standing(t, time.Minute)
	if got, want := b.Due(1), time.Minute+2*time.Second; got != want {
		t.Errorf("got the next write at %v; want %v", got, want)
	}
	if got := b.Due(2); got != 0 {
		t.Errorf("something new to say: got the next write at %v; want it at once", got)
	}
	if got := (Beat{TTL: ttl}).Due(0); got != 0 {
		t.Errorf("no entry: got the next write at %v; want it at once", got)
	}
}

func TestWritesReplaceTheEntryOfTheLastOne(t *testing.T) {
	b := Beat{TTL: ttl}.Begin(time.Minute, 4)
	if w := b.Pending; w.CAS != 0 || w.Beat != 1 || w.Revision != 4 || w.Begun != time.Minute || !b.Writing {
		t.Errorf("got %+v; want one that makes the entry", w)
	}
	b = standing(t, time.Minute).Begin(time.Minute+2*time.Second, 1)
	if w := b.Pending; w.CAS != 7 || w.Beat != 2 {
		t.Errorf("got %+v; want one that replaces index 7", w)
	}
}

func TestAnswerAfterTheLeaseGivesNothing(t *testing.T) {
	b := standing(t, time.Minute).Begin(time.Minute+7*time.Second, 1)
	late := b.Answered(b.Ends(), b.Pending, 9)
	if late.Stands || late.Life != 1 || late.Ends() != 0 {
		t.Errorf("got %+v after an answer at the end of the lease; want it lapsed", late)
	}
	first := Beat{TTL: ttl}.Begin(time.Minute, 1)
	if late := first.Answered(time.Minute+8*time.Second, first.Pending, 9); late.Stands {
		t.Errorf("got %+v after an answer that took a whole lease; want no entry that counts", late)
	}
}

func TestWhatWasBegunBeforeALapseGivesNothing(t *testing.T) {
	b := standing(t, time.Minute).Begin(time.Minute+2*time.Second, 1)
	w := b.Pending
	lapsed := b.Lapse()
	if lapsed.Stands || lapsed.Index != 0 || lapsed.Acked != 0 || lapsed.Life != 1 || lapsed.Beats != 2 {
		t.Errorf("got %+v; want a new life without an entry", lapsed)
	}
	for what, got := range map[string]Beat{
		"its answer":   lapsed.Answered(time.Minute+3*time.Second, w, 9),
		"its refusal":  lapsed.Refused(w),
		"no answer":    lapsed.Unanswered(w),
		"a read of it": lapsed.ReadBack(time.Minute+3*time.Second, 9, w.Beat),
	} {
		if got != lapsed {
			t.Errorf("%s: got %+v; want nothing changed", what, got)
		}
	}
}

func TestUnansweredWriteIsReadBack(t *testing.T) {
	b := standing(t, time.Minute).Begin(time.Minute+2*time.Second, 1)
	b = b.Unanswered(b.Pending)
	if b.Writing || !b.Doubtful || b.Ends() != time.Minute+8*time.Second {
		t.Fatalf("got %+v; want it in doubt, and the lease as it was", b)
	}
	now := time.Minute + 3*time.Second
	for _, tc := range []struct {
		what        string
		index, beat uint64
		stands      bool
		ends        time.Duration
		life        int
	}{
		{"it was made", 9, 2, true, time.Minute + 10*time.Second, 0},
		{"it was not made, or has not been yet", 7, 1, true, time.Minute + 8*time.Second, 0},
		{"the entry is absent", 0, 0, false, 0, 1},
		{"another wrote it", 9, 1, false, 0, 1},
	} {
		got := b.ReadBack(now, tc.index, tc.beat)
		if got.Stands != tc.stands || got.Ends() != tc.ends || got.Life != tc.life || got.Doubtful {
			t.Errorf("%s: got %+v; want %+v", tc.what, got, tc)
		}
	}
	fresh := Beat{TTL: ttl}.Begin(time.Minute, 1)
	fresh = fresh.Unanswered(fresh.Pending)
	if got := fresh.ReadBack(now, 0, 0); got.Life != 0 || got.Doubtful || got.Stands {
		t.Errorf("a first write that was not made: got %+v; want to write again in the same life", got)
	}
	if got := fresh.ReadBack(now, 9, 1); !got.Stands || got.Index != 9 {
		t.Errorf("a first write that was made: got %+v; want the entry to stand", got)
	}
}

func TestRefusedWriteIsALapse(t *testing.T) {
	b := standing(t, time.Minute).Begin(time.Minute+2*time.Second, 1)
	if got := b.Refused(b.Pending); got.Stands || got.Life != 1 {
		t.Errorf("got %+v; want it lapsed", got)
	}
	other := b.Pending
	other.Beat++
	if got := b.Refused(other); got != b {
		t.Errorf("another write's refusal: got %+v; want nothing changed", got)
	}
}

func TestLabelMayHaveConnectionsByAReadThatBeganAfterItsReportStood(t *testing.T) {
	b := standing(t, time.Minute)
	s := LabelLease{}.Join(b.Life, 2)
	if got := s.Stand(time.Minute+time.Second, b); got.Stood != 0 {
		t.Errorf("got %+v by a write of before; want it not to stand", got)
	}
	b = b.Begin(time.Minute+2*time.Second, 2)
	b = b.Answered(time.Minute+3*time.Second, b.Pending, 9)
	s = s.Stand(time.Minute+3*time.Second, b)
	if s.Stood != time.Minute+3*time.Second {
		t.Fatalf("got %+v; want it to stand when the answer came", s)
	}
	if again := s.Stand(time.Minute+9*time.Second, b); again != s {
		t.Errorf("got %+v by a second answer; want %+v still", again, s)
	}
	for _, begun := range []time.Duration{0, time.Minute, s.Stood} {
		if got := s.Look(begun); got.Read != 0 || s.Admits(begun) || got.Lease(b) != 0 {
			t.Errorf("got %+v by a read that began at %v; want none that counts", got, begun)
		}
	}
	s = s.Look(s.Stood + 2)
	if s.Lease(b) != min(b.Ends(), s.Stood+2+8*time.Second) {
		t.Errorf("got a lease until %v; want that of the older of write and read", s.Lease(b))
	}
	for _, begun := range []time.Duration{s.Stood, s.Stood + 1} {
		if older := s.Look(begun); older != s {
			t.Errorf("got %+v by an older read, begun at %v; want %+v still", older, begun, s)
		}
	}
}

func TestLeaseOfALabelIsThatOfTheOlderOfWriteAndRead(t *testing.T) {
	b := standing(t, time.Minute)
	s := LabelLease{Life: b.Life, Revision: 1, Stood: time.Second, Read: 30 * time.Second}
	if got, want := s.Lease(b), 38*time.Second; got != want {
		t.Errorf("an old read: got a lease until %v; want %v", got, want)
	}
	s.Read = 2 * time.Minute
	if got, want := s.Lease(b), b.Ends(); got != want {
		t.Errorf("an old write: got a lease until %v; want %v", got, want)
	}
	lapsed := b.Lapse()
	if got := s.Lease(lapsed); got != 0 {
		t.Errorf("another life: got a lease until %v; want none", got)
	}
	next := lapsed.Begin(time.Minute, 2)
	if next = next.Answered(time.Minute+time.Second, next.Pending, 9); !next.Stands || s.Lease(next) != 0 {
		t.Errorf("another life, which stands: got a lease until %v; want none", s.Lease(next))
	}
}

func TestLabelLapses(t *testing.T) {
	b := standing(t, time.Minute)
	joined := LabelLease{}.Join(b.Life, 2)
	stood := joined
	stood.Stood = time.Minute
	read := stood
	read.Read = time.Minute + 1
	for _, tc := range []struct {
		what  string
		lease LabelLease
		beat  Beat
		now   time.Duration
		want  bool
	}{
		{"it is out", LabelLease{}, b.Lapse(), time.Hour, false},
		{"it has joined", joined, b, time.Hour, false},
		{"the entry has lapsed", joined, b.Lapse(), 0, true},
		{"it stands", stood, b, time.Minute + 8*time.Second - 1, false},
		{"it stands, and nothing could be read for a lease", stood, b, time.Minute + 8*time.Second, true},
		{"its lease goes on", read, b, time.Minute + 8*time.Second - 1, false},
		{"its lease is over", read, b, time.Minute + 8*time.Second, true},
	} {
		if got := tc.lease.IsOver(tc.now, tc.beat); got != tc.want {
			t.Errorf("%s: got over %v; want %v", tc.what, got, tc.want)
		}
	}
}
