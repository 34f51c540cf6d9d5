package proxy

// scratchSize is the most that one read takes.
const scratchSize = 64 << 10

// leftover is what a destination did not take of one read.
type leftover struct {
	data []byte
	off  int
}

func (l *leftover) unsent() []byte { return l.data[l.off:] }

// leftoverClasses are the capacities kept, so that a slow reader pins what it
// needs rather than a whole scratch buffer.
var leftoverClasses = [...]int{4 << 10, 16 << 10, scratchSize}

// idleLeftovers of each class a shard keeps for the next one.
const idleLeftovers = 32

// leftovers is one shard's pool.
type leftovers struct {
	idle [len(leftoverClasses)][]*leftover
}

// keep copies b, which is not larger than scratchSize.
func (p *leftovers) keep(b []byte) *leftover {
	class := 0
	for len(b) > leftoverClasses[class] {
		class++
	}
	var l *leftover
	if last := len(p.idle[class]) - 1; last >= 0 {
		l = p.idle[class][last]
		p.idle[class] = p.idle[class][:last]
	} else {
		l = &leftover{data: make([]byte, leftoverClasses[class])}
	}
	l.off, l.data = 0, l.data[:copy(l.data[:cap(l.data)], b)]
	return l
}

func (p *leftovers) give(l *leftover) {
	for class, size := range leftoverClasses {
		if cap(l.data) == size {
			if len(p.idle[class]) < idleLeftovers {
				p.idle[class] = append(p.idle[class], l)
			}
			return
		}
	}
}
