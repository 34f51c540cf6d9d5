package waiting

import (
	"testing"
	"time"
)

func TestBackoffStaysBelowItsCeilings(t *testing.T) {
	b := Backoff{First: time.Second, Most: 5 * time.Second}
	for i, ceiling := range []time.Duration{1, 2, 4, 5, 5} {
		for range 1000 {
			b.fails = i
			if d := b.Next(); d < 0 || d > ceiling*time.Second {
				t.Fatalf("pause %d: got %v; want at most %v s", i, d, ceiling)
			}
		}
	}
	b.fails = 1 << 20
	if d := b.Next(); d > 5*time.Second {
		t.Errorf("got %v; want at most 5 s", d)
	}
}
