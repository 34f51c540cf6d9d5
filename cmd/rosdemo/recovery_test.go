package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// TestRecoveryDemoPasses shows the whole story once.
func TestRecoveryDemoPasses(t *testing.T) {
	t.Parallel()
	binary, err := filepath.Abs(realconsul.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "consul")); err != nil {
		t.Fatal(err)
	}
	out, status := showDemo(t, []string{"PATH=" + dir}, "dr", "--clients=8")
	if status != 0 {
		t.Errorf("exit status got %d; want 0", status)
	}
	for _, name := range []string{"other records lost", "acknowledged by two centres", "stale connections"} {
		if got := sum(t, out, name); got != 0 {
			t.Errorf("%s: got %d; want 0", name, got)
		}
	}
	for _, name := range []string{"records acknowledged", "longest wait, dc1 lost", "longest wait, dc1 back"} {
		if got := sum(t, out, name); got <= 0 {
			t.Errorf("%s: got %d; want some", name, got)
		}
	}
	wantInOrder(t, out, "no active data centre", "$ rosproxy datacenter activate dc1", "first record acknowledged by dc1", "two backups later",
		"SIGKILL", "are held", "refused", "activate dc2 --force", "first record acknowledged by dc2", "the last backup went up to record",
		"is master in dc1, with", "standby: active data centre is dc2", "is held: no answer", "0 connections from rosproxy",
		"is master in dc1 again", "$ rosproxy pause", "dc1 has all", "$ rosproxy datacenter activate dc1", "first record acknowledged by dc1", "PASSED")
	if t.Failed() {
		t.Log(out)
	}
}

func TestRecoveryDemoNeedsAConsul(t *testing.T) {
	out, status := showDemo(t, []string{"PATH=/nonexistent"}, "dr")
	if want := "make consul"; status != 1 || !strings.Contains(out, want) {
		t.Errorf("exit status got %d, output\n%s\nwant 1 and %q", status, out, want)
	}
}

func TestAcknowledgementsByTwoDataCentresAreCounted(t *testing.T) {
	b := &placeBook{of: map[string]string{"1": "dc1", "4": "dc2"}}
	take := func(n uint64, worker string) { b.take(record{"c", n}, worker, time.Unix(int64(n), 0)) }
	take(1, "1") // before anybody was activated
	b.expect("dc1")
	take(2, "1")
	take(3, "4") // not the active one
	b.expect("dc2")
	take(4, "1") // it still is the active one
	take(5, "4")
	take(6, "1") // not any more
	if got := b.byTwo(); got != 3 {
		t.Errorf("got %d; want 3: records 1, 3 and 6", got)
	}
	if place, since := b.activeSince(); place != "dc2" || !since.Equal(time.Unix(5, 0)) {
		t.Errorf("active got %s since %v; want dc2 since record 5", place, since)
	}
	if got := len(b.all()); got != 6 {
		t.Errorf("got %d acknowledgements; want 6", got)
	}
}

// TestOnlyWhatCameAfterTheBackupOfTheLostDataCentreIsLostByDesign: and it stays
// that in the end, when it is missing still.
func TestOnlyWhatCameAfterTheBackupOfTheLostDataCentreIsLostByDesign(t *testing.T) {
	taken := time.Unix(100, 0)
	of := func(n uint64, place string, at time.Time) acknowledgement {
		return acknowledgement{record{"c", n}, place, at}
	}
	acks := []acknowledgement{
		of(1, "dc1", taken.Add(-time.Second)), of(2, "dc1", taken.Add(-time.Second)),
		of(3, "dc1", taken.Add(time.Second)), of(4, "dc1", taken.Add(time.Second)),
		of(5, "dc2", taken.Add(time.Minute)), of(6, "dc2", taken.Add(time.Minute)),
	}
	held := map[record]bool{{"c", 1}: true, {"c", 3}: true, {"c", 5}: true}
	var l loss
	l.judge(missing(acks, held), "dc1", taken)
	l.judge(missing(acks, held), "", time.Time{})
	if len(l.byDesign) != 1 || !l.byDesign[record{"c", 4}] {
		t.Errorf("by design got %v; want record 4", l.byDesign)
	}
	if len(l.other) != 2 || !l.other[record{"c", 2}] || !l.other[record{"c", 6}] {
		t.Errorf("other got %v; want records 2 and 6", l.other)
	}
}

func TestRecoverySummaryPassesOnlyWithoutOtherLossesAndWithOneDataCentreAtATime(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *recovery)
		slave []string
		want  string // empty: passes
	}{
		"all well":              {func(*recovery) {}, []string{"a 1", "a 2"}, ""},
		"slave lacks one":       {func(*recovery) {}, []string{"a 1"}, "other records lost                    1"},
		"lost by design":        {func(r *recovery) { r.loss.byDesign[record{"a", 2}] = true }, []string{"a 1"}, ""},
		"two at a time":         {func(r *recovery) { r.book.both = 1 }, []string{"a 1", "a 2"}, "acknowledged by two centres           1"},
		"the returned answered": {func(r *recovery) { r.probed = 1 }, []string{"a 1", "a 2"}, "acknowledged by two centres           1"},
		"a stale connection":    {func(r *recovery) { r.staleSockets = 1 }, []string{"a 1", "a 2"}, "stale connections                     1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := &recovery{stage: stage{scr: &screen{out: &out}}, ledger: newLedger(), book: &placeBook{of: map[string]string{"1": "dc1"}, next: "dc1"}}
			r.loss.judge(nil, "", time.Time{})
			r.one = &place{name: "dc1", watch: newWatch(&consul{}), workers: []*worker{fakeWorker(t, "1", "2", "a 1", "a 2"), fakeWorker(t, "2", "", c.slave...)}}
			r.one.watch.set(map[string]string{"1": "master", "2": "slave"}, time.Now())
			r.book.take(record{"a", 1}, "1", time.Now())
			r.book.take(record{"a", 2}, "1", time.Now())
			c.spoil(r)
			passed, err := r.summary(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := c.want == ""; passed != want || !strings.Contains(out.String(), c.want) {
				t.Errorf("passed got %v; want %v; output\n%s\nwant %q in it", passed, want, out.String(), c.want)
			}
		})
	}
}

func TestFactsOfABackupAreRead(t *testing.T) {
	f, err := parseFacts(`history=4be1 epoch=3 records=4211 last="c07 312" taken=2026-11-25T22:54:44.5Z` + "\n")
	want := backupFacts{"4be1", 4211, "c07 312", time.Date(2026, 11, 25, 22, 54, 44, 5e8, time.UTC)}
	if err != nil || f != want {
		t.Errorf("got %+v, %v; want %+v", f, err, want)
	}
	for _, line := range []string{"", "syncworker: read backup: damaged", "history=4be1 epoch=3 records=1 last=\"c 1\" taken=yesterday"} {
		if f, err := parseFacts(line); err == nil {
			t.Errorf("%q: got %+v; want an error", line, f)
		}
	}
}
