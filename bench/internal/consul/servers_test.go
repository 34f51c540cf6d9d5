package consul

import (
	"context"
	"testing"
	"time"
)

// TestServersAreMeasuredWithAndWithoutALeader: the figures are of what happens.
func TestServersAreMeasuredWithAndWithoutALeader(t *testing.T) {
	c, err := StartServers(t.Context(), binary(t), t.TempDir(), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	for _, fault := range []string{"kill", "freeze"} {
		before, err := c.Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		took, err := c.Leaderless(t.Context(), fault)
		if err != nil || took <= 0 {
			t.Fatalf("%s: got %v, %v; want the time without a leader", fault, took, err)
		}
		if after, err := c.Leader(t.Context()); err != nil || after == before {
			t.Errorf("%s: got leader %d again, %v; want another", fault, after, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	beats := c.Report(ctx, 3, time.Second)
	for deadline := time.Now().Add(testTimeout); beats.Count() < 9; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d reports in %v; want some", beats.Count(), testTimeout)
		}
	}
	defer beats.Wait() //nolint:errcheck // they are cut short
	defer stop()
	before := beats.Count()
	l, err := c.Load(ctx, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if made := float64(beats.Count() - before); l.Leader <= 0 || l.All < l.Leader || l.Commits < made/4 {
		t.Errorf("got %+v with %v reports made; want CPU time, and a commit for each", l, made)
	}
}
