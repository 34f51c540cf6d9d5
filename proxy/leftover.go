package proxy

import (
	"slices"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// scratchSize is the most that one read takes.
const scratchSize = 64 << 10

// leftover is what a destination did not take of one read, or, of a stream, is in a pipe.
type leftover struct {
	pipe  *pipe // nil: the bytes are data
	data  []byte
	off   int
	place []byte // of scratchSize; nil: data is on the heap
}

func (l *leftover) unsent() []byte { return l.data[l.off:] }

const (
	// mostLeftovers of all loops together: clients that do not read must not
	// fill the process's memory, however many they are. Where no place is free,
	// nothing is read that the destination does not take (peekThrough).
	mostLeftovers = 256
	// fewestLeftovers of a loop, however many loops there are.
	fewestLeftovers = 8
	// warmLeftovers keep their memory while they are not in use.
	warmLeftovers = 8
)

// leftovers is one loop's places for them. They are not on Go's heap: memory
// that is not in use any more goes back to the system at once, not when the
// collector gets to it, and a few bytes take a page, not a whole place.
type leftovers struct {
	most       int
	opened     bool
	memory     []byte
	warm, cold []*leftover // not in use: with memory, and without
}

func newLeftovers(loops int) leftovers {
	return leftovers{most: max(mostLeftovers/loops, fewestLeftovers)}
}

// hasRoom reports whether a place is free.
func (p *leftovers) hasRoom() bool {
	if !p.opened {
		p.open()
	}
	return len(p.warm)+len(p.cold) > 0
}

// open makes the places; there are none where the process may not have the addresses.
func (p *leftovers) open() {
	p.opened = true
	var err error
	if p.memory, err = sock.Map(p.most * scratchSize); err != nil {
		return
	}
	for place := range slices.Chunk(p.memory, scratchSize) {
		p.cold = append(p.cold, &leftover{place: place})
	}
}

// keep copies b, which is not larger than scratchSize: to the heap when no place is free.
func (p *leftovers) keep(b []byte) *leftover {
	if !p.hasRoom() {
		return &leftover{data: slices.Clone(b)}
	}
	from := &p.warm
	if len(p.warm) == 0 {
		from = &p.cold
	}
	last := len(*from) - 1
	l := (*from)[last]
	*from = (*from)[:last]
	l.off, l.data = 0, l.place[:copy(l.place, b)]
	return l
}

func (p *leftovers) give(l *leftover) {
	switch {
	case l.place == nil:
	case len(p.warm) < warmLeftovers:
		p.warm = append(p.warm, l)
	default:
		sock.Forget(l.place[:len(l.data)])
		p.cold = append(p.cold, l)
	}
}

// close gives the places back; nobody has one.
func (p *leftovers) close() {
	if len(p.memory) > 0 {
		sock.Unmap(p.memory)
	}
	*p = leftovers{opened: true}
}
