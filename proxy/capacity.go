package proxy

import (
	"os"
	"sync/atomic"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// defaultReserved are descriptors that are not a client's or a master's: the
// admin server's, Consul's, the logs', the shards' own.
const defaultReserved = 256

// mostPipes bounds what streams with slow readers can pin in the kernel: a
// pipeSize each.
const mostPipes = 512

// capacity is how many connections and pipes the process has room for.
type capacity struct {
	conns int
	pipes int
}

// capacityFor shares out the descriptors: two a connection, two a pipe, and
// a twentieth of them for pipes, since a stream holds one only while its
// destination does not keep up. maxConns of 0 takes what there is. What is
// reserved is half of them at most.
func capacityFor(maxConns, reserved, descriptors, pipePages int) capacity {
	pipes := min(max(descriptors/20, 2), mostPipes)
	if pipePages > 0 {
		// Half of what the user may have, for the other processes of that user.
		pipes = min(pipes, pipePages/(pipeSize/os.Getpagesize())/2)
	}
	if reserved == 0 {
		reserved = min(defaultReserved, descriptors/4)
	}
	if maxConns == 0 {
		maxConns = max((descriptors-min(reserved, descriptors/2))/2-pipes, 1)
	}
	return capacity{conns: maxConns, pipes: pipes}
}

// Room is for how many client connections the limit of open files has room.
type Room struct {
	Descriptors int // RLIMIT_NOFILE
	Conns       int
}

// RoomFor is the Room of a Proxy of which so many descriptors are reserved, as
// by Config.Reserved. A Proxy warns of a greater Config.MaxConns.
func RoomFor(reserved int) (Room, error) {
	descriptors, err := sock.DescriptorLimit()
	if err != nil {
		return Room{}, err
	}
	return Room{descriptors, capacityFor(0, reserved, descriptors, sock.PipePagesLimit()).conns}, nil
}

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
func (l *slots) take() bool {
	for n := l.used.Load(); n < l.max; n = l.used.Load() {
		if l.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false // never over the limit, not even for a moment: Active is read by others
}

// putBack gives back a slot that no connection has had.
func (l *slots) putBack() {
	left := l.used.Add(-1)
	if l.full.Load() && l.full.CompareAndSwap(true, false) {
		l.freed()
	}
	if left == 0 {
		select {
		case l.emptied <- struct{}{}:
		default:
		}
	}
}

// give gives back the slot of a connection that has ended.
func (l *slots) give() {
	if l.short.Load() && l.short.CompareAndSwap(true, false) {
		l.full.Store(true)
	}
	l.putBack()
}

func (l *slots) isFull() bool { return l.used.Load() >= l.max }

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
