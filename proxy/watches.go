package proxy

import "math"

// sendWatch is what is known of the bytes in the two send queues of a connection.
type sendWatch struct {
	peers [2]detector
	acked int64 // bytes that both peers together have acknowledged
	next  int64 // when to look again; of the clock
	polls uint8 // looks so far
}

// What a conn has in place of a watch.
const (
	noWatch      = 0              // nothing waits
	watchPending = math.MaxUint32 // something may: the timer finds out
)

// watches is one loop's pool. A conn names its watch by its place.
type watches struct {
	all  []sendWatch
	free []uint32
}

func (w *watches) take() uint32 {
	if last := len(w.free) - 1; last >= 0 {
		i := w.free[last]
		w.free = w.free[:last]
		return i
	}
	if len(w.all) == 0 {
		w.all = append(w.all, sendWatch{}) // noWatch
	}
	w.all = append(w.all, sendWatch{})
	return uint32(len(w.all) - 1)
}

func (w *watches) give(i uint32) {
	w.all[i] = sendWatch{}
	w.free = append(w.free, i)
}
