package proxy

import (
	"slices"
	"testing"
)

// TestWaitingRoomAdmits checks how many clients of each label get in, when the
// labels come one after another and each with as many as it can.
func TestWaitingRoomAdmits(t *testing.T) {
	for _, c := range []struct {
		name           string
		most, maxConns int
		live           int64 // connections that wait for nothing
		want           []int // by label
	}{
		{"one label, up to hold-max", 5, 100, 0, []int{5}},
		{"one label, below max-conns", 100, 16, 0, []int{14}},
		{"one label beside the live", 100, 16, 10, []int{6}},
		{"one connection at most", 100, 1, 0, []int{1}},
		{"one connection at most, of two labels", 100, 1, 0, []int{1, 0}},
		{"no label takes the last share", 100, 16, 0, []int{10, 4, 0}},
		{"two labels leave slots to the live", 100, 16, 10, []int{4, 0}},
		{"fewer places than labels", 1, 16, 0, []int{1, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &slots{max: int64(c.maxConns), freed: func() {}, emptied: make(chan struct{}, 1)}
			s.used.Store(c.live)
			w := newWaitingRoom(c.most, len(c.want), s)
			got := make([]int, len(c.want))
			for i := range got {
				lb := &label{}
				for s.take() {
					if !w.take(lb) {
						s.give()
						break
					}
					got[i]++
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v; want %v", got, c.want)
			}
		})
	}
}
