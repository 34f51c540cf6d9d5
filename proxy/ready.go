package proxy

// slabChunk is how many slots for connections a loop makes at a time.
const slabChunk = 256

// ref names the tenant of a slot without keeping it alive.
type ref struct{ index, generation uint32 }

// readyQueue holds connections that go on without a new event.
type readyQueue struct {
	refs  []ref
	spare []ref
}

func (q *readyQueue) add(r ref) { q.refs = append(q.refs, r) }

func (q *readyQueue) isEmpty() bool { return len(q.refs) == 0 }

// take returns the first n; what is added meanwhile comes after the rest. They
// are valid until the next take.
func (q *readyQueue) take(n int) []ref {
	taken := q.refs
	n = min(n, len(taken))
	q.refs = append(q.spare[:0], taken[n:]...)
	q.spare = taken
	return taken[:n]
}
