package proxy

// slabChunk is how many slots for connections a loop makes at a time.
const slabChunk = 256

// ref names the tenant of a slot without keeping it alive.
type ref struct{ index, generation uint32 }

// readyQueue holds connections that go on without a new event.
type readyQueue struct {
	refs  []ref
	taken int // of refs
}

func (q *readyQueue) add(r ref) {
	if q.taken > len(q.refs)/2 {
		q.refs, q.taken = append(q.refs[:0], q.refs[q.taken:]...), 0
	}
	q.refs = append(q.refs, r)
}

func (q *readyQueue) len() int { return len(q.refs) - q.taken }

func (q *readyQueue) isEmpty() bool { return q.len() == 0 }

// take returns the first, of which there is one.
func (q *readyQueue) take() ref {
	q.taken++
	return q.refs[q.taken-1]
}
