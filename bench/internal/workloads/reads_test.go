package workloads

import (
	"math"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
)

// A cluster that nobody asks anything uses CPU all the same: 10 ms a second
// here, so that 5 of 105 ms in half a second are not the questions'.
func TestCostIsWhatGoesBeyondTheIdleCluster(t *testing.T) {
	idle := use{Usage: consul.Usage{All: 20 * time.Millisecond, Leader: 20 * time.Millisecond}, took: 2 * time.Second}
	busy := use{Usage: consul.Usage{All: 105 * time.Millisecond, Leader: 105 * time.Millisecond}, took: time.Second / 2}
	if got := busy.each(50, idle, ofLeader); math.Abs(got-2) > 1e-9 {
		t.Errorf("each of 50 questions: got %v ms; want 2", got)
	}
	if got := busy.each(50, idle, ofAgent); got != 0 {
		t.Errorf("each at an agent that did nothing: got %v ms; want 0", got)
	}
}
