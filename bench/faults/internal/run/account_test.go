package run

import (
	"testing"

	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
)

// Measured: a program with the race detector went from 60 to 115 MB within 13
// rounds, while its heap stayed at 5 MB.
func TestWhatTheRaceDetectorNotesIsNoMemoryOfTheProgram(t *testing.T) {
	m := tier.Metrics{"process_resident_memory_bytes": 115e6, "go_memstats_sys_bytes": 22e6, "go_memstats_heap_released_bytes": 4e6}
	if got, want := (&World{raceDetector: true}).memory(m), 18e6; got != want {
		t.Errorf("with the race detector: got %.0f; want %.0f", got, want)
	}
	if got, want := (&World{}).memory(m), 115e6; got != want {
		t.Errorf("without: got %.0f; want %.0f", got, want)
	}
}
