package events

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
)

func TestTheLastFiftyAreRememberedInTheirOrder(t *testing.T) {
	for _, n := range []int{0, 1, kept - 1, kept, kept + 1, 3*kept + 7} {
		var r Recent
		for i := range n {
			r.Add("failover", "failover", []any{"epoch", i})
		}
		all := r.All()
		if len(all) != min(n, kept) {
			t.Fatalf("after %d: got %d; want %d", n, len(all), min(n, kept))
		}
		for i, e := range all {
			if want := n - len(all) + i; e.Field("epoch") != want {
				t.Errorf("after %d: event %d: got epoch %v; want %d", n, i, e.Field("epoch"), want)
			}
		}
	}
}

// Who reads only warnings in the log still finds failovers where they are asked for.
func TestAnEventBelowTheLogsLevelIsRemembered(t *testing.T) {
	var b bytes.Buffer
	var r Recent
	log := zerolog.New(&b).Level(zerolog.WarnLevel)
	r.Tell(log, zerolog.InfoLevel, "activation", "active data centre", "from", "dc1", "to", "dc2", "term", 7)
	r.Tell(log, zerolog.WarnLevel, "lost", "master lost", "label", "europe")
	if got := b.String(); strings.Contains(got, "dc2") || !strings.Contains(got, `"label":"europe","message":"master lost"`) {
		t.Errorf("got the log %s; want the warning alone", got)
	}
	all := r.All()
	if len(all) != 2 || all[0].Field("to") != "dc2" || all[0].Label() != "" || all[1].Label() != "europe" {
		t.Errorf("got %v; want both", all)
	}
	(*Recent)(nil).Tell(log, zerolog.WarnLevel, "lost", "master lost") // remembers nothing
	if got := (*Recent)(nil).All(); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}

// Labels fail over side by side; whoever follows sees the events in the order in
// which they are remembered.
func TestAFollowerSeesEveryEventInOrder(t *testing.T) {
	var followed []Event // guarded by Recent's own lock
	r := Recent{Follow: func(e Event) { followed = append(followed, e) }}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range kept {
				r.Add("failover", "failover", []any{"label", string(rune('a' + i))})
			}
		})
	}
	wg.Wait()
	if len(followed) != 8*kept {
		t.Fatalf("got %d; want %d", len(followed), 8*kept)
	}
	for i, e := range r.All() {
		if want := followed[len(followed)-kept+i]; e.Label() != want.Label() || !e.At.Equal(want.At) {
			t.Errorf("event %d: got %v; want %v", i, e, want)
		}
	}
}

// TestEventWithANameAndNoValue has no such field.
func TestEventWithANameAndNoValue(t *testing.T) {
	if e := (Event{Fields: []any{"term", 7, "label"}}); e.Label() != "" || e.Field("term") != 7 {
		t.Errorf("got %q, %v; want no label, and term 7", e.Label(), e.Field("term"))
	}
}
