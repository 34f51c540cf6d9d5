package datacenter

import (
	"slices"
	"testing"
	"time"
)

func read(begun time.Duration, e Entry) Read { return Read{Understood: true, Entry: e, Begun: begun} }

func TestHighestTermCountsAndIsRemembered(t *testing.T) {
	f := NewFollower([]string{"dc1", "dc2"})
	f.Take("dc1", read(1, Entry{Active: "dc1", Term: 3}))
	if dc, why := f.Active(); dc != "dc1" {
		t.Fatalf("got %q, %q; want dc1 at once, by whichever entry was read", dc, why)
	}
	if !f.Take("dc2", read(0, Entry{Active: "dc2", Term: 6})) {
		t.Fatal("a higher term is not newer")
	}
	for _, r := range []Read{read(5, Entry{Active: "dc1", Term: 3}), read(6, Entry{}), {Why: "garbage"}} {
		if f.Take("dc2", r); f.Newest().Active != "dc2" || f.Term() != 6 {
			t.Errorf("after %+v: got %+v; want dc2 of term 6 remembered", r, f.Newest())
		}
	}
}

func TestNobodyIsActiveOnlyWhenEveryDataCentreHasNoEntry(t *testing.T) {
	f := NewFollower([]string{"dc1", "dc2"})
	f.Take("dc1", read(1, Entry{}))
	for _, r := range []Read{{}, {Why: "status 500"}, read(0, Entry{})} {
		f.Take("dc2", r)
		if dc, why := f.Active(); dc != "" || f.IsNobody() {
			t.Errorf("dc2 %+v: got %q, %q; want it not known who is active", r, dc, why)
		}
	}
	f.Take("dc2", read(2, Entry{}))
	if _, why := f.Active(); why != NobodyActive || !f.IsNobody() {
		t.Errorf("got %q; want %q", why, NobodyActive)
	}
}

func TestTwoEntriesOfOneTermMakeNobodyActive(t *testing.T) {
	f := NewFollower([]string{"dc1", "dc2", "dc3"})
	f.Take("dc1", read(1, Entry{Active: "dc1", Term: 3}))
	f.Take("dc2", read(1, Entry{Active: "dc2", Term: 3}))
	if dc, why := f.Active(); dc != "" || f.IsNobody() {
		t.Errorf("got %q, %q; want none", dc, why)
	}
	f.Take("dc3", read(1, Entry{Active: "dc1", Term: 3}))
	if dc, why := f.Active(); dc != "" || f.IsNobody() {
		t.Errorf("one more says what the first did: got %q, %q; want none", dc, why)
	}
	f.Take("dc1", read(2, Entry{Active: "dc2", Term: 6}))
	if dc, why := f.Active(); dc != "dc2" {
		t.Errorf("after the next term: got %q, %q; want dc2", dc, why)
	}
}

func TestEveryEntryMustBeReadButThoseThatTheNewestWasWrittenWithout(t *testing.T) {
	f := NewFollower([]string{"dc1", "dc2", "dc3"})
	f.Take("dc1", read(10, Entry{Active: "dc1", Term: 3}))
	f.Take("dc2", read(20, Entry{Active: "dc2", Term: 6, Without: []string{"dc1"}}))
	f.Take("dc3", Read{Why: "garbage"})
	for _, c := range []struct {
		since time.Duration
		want  []string
	}{{5, []string{"dc3"}}, {20, []string{"dc2", "dc3"}}} {
		if got := f.Unread(c.since); !slices.Equal(got, c.want) {
			t.Errorf("since %d: got %v; want %v", c.since, got, c.want)
		}
	}
	if f.Begun("dc3") != 0 || f.Begun("dc2") != 20 || f.Begun("dc9") != 0 {
		t.Errorf("got %v, %v, %v", f.Begun("dc3"), f.Begun("dc2"), f.Begun("dc9"))
	}
	f.Take("dc3", Read{Why: "garbage", Begun: 30})
	if f.Begun("dc3") != 0 || f.Answered("dc3") != 30 || f.Answered("dc9") != 0 || f.NewestBegun() != 20 || f.NewestAnswered() != 30 {
		t.Errorf("got %v, %v, %v; and %v, %v of all", f.Begun("dc3"), f.Answered("dc3"), f.Answered("dc9"), f.NewestBegun(), f.NewestAnswered())
	}
}
