package clock

import (
	"testing"
	"time"
)

func TestBootTimeGoesOn(t *testing.T) {
	a := SinceBoot()
	time.Sleep(2 * time.Millisecond)
	if b := SinceBoot(); a <= 0 || b-a < 2*time.Millisecond {
		t.Errorf("got %v, and 2ms later %v", a, b)
	}
}
