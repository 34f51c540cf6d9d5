package proxy

import "sync/atomic"

// slots bounds the client connections of all shards together. Shards that
// have stopped accepting are told when it is worth another try.
type slots struct {
	max     int64
	used    atomic.Int64
	full    atomic.Bool // a shard waits for a slot
	short   atomic.Bool // a shard waits for what an ending connection gives back to the machine
	freed   func()      // called when there is what a shard waits for
	emptied chan struct{}
}

// take reserves a slot, before the connection that is to have it is accepted.
func (s *slots) take() bool {
	for n := s.used.Load(); n < s.max; n = s.used.Load() {
		if s.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false // never over the limit, not even for a moment: Active is read by others
}

// putBack gives back a slot that no connection has had.
func (s *slots) putBack() {
	left := s.used.Add(-1)
	if s.full.Load() && s.full.CompareAndSwap(true, false) {
		s.freed()
	}
	if left == 0 {
		select {
		case s.emptied <- struct{}{}:
		default:
		}
	}
}

// give gives back the slot of a connection that has ended.
func (s *slots) give() {
	if s.short.Load() && s.short.CompareAndSwap(true, false) {
		s.full.Store(true)
	}
	s.putBack()
}

func (s *slots) isFull() bool { return s.used.Load() >= s.max }

// waitingRoom bounds the clients that wait for a master, of all labels
// together: those of labels that have a master find slots free, and no label's
// clients take the last share of the room from the others'.
type waitingRoom struct {
	max    int64
	share  int64 // each label may have so many whatever the others have
	total  atomic.Int64
	spared int64 // no client begins to wait while fewer slots are free
	slots  *slots
}

// spareForLive: one slot of so many is not for waiting clients.
const spareForLive = 8

func newWaitingRoom(most int, labels int, s *slots) waitingRoom {
	spared := max(s.max/spareForLive, 1)
	room := max(min(int64(most), s.max-spared), 1)
	if labels == 1 { // there is nobody to spare them for
		spared = 0
	}
	return waitingRoom{max: room, share: max(room/int64(labels), 1), spared: min(spared, s.max-1), slots: s}
}

// isShared reports whether there are several labels.
func (w *waitingRoom) isShared() bool { return w.share < w.max }

// take takes a place for a client of l, whose slot is taken already, and
// reports whether there was one.
func (w *waitingRoom) take(l *label) bool {
	total, own := w.total.Add(1), l.held.Add(1)
	if total <= w.max && w.slots.max-w.slots.used.Load() >= w.spared && (own <= w.share || w.max-total >= w.share) {
		return true
	}
	w.give(l)
	return false
}

// give gives back the place of a client of l.
func (w *waitingRoom) give(l *label) {
	w.total.Add(-1)
	l.held.Add(-1)
}
