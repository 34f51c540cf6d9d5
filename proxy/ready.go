package proxy

// slabChunk is how many slots for connections a loop makes at a time.
const slabChunk = 256

// ref names a connection by its slot and generation, without keeping it alive.
type ref struct{ index, generation uint32 }

// readyQueue holds connections that go on without a new event.
type readyQueue = queue[ref]

// queue is first in, first out. It uses its memory again.
type queue[T any] struct {
	items []T
	taken int // of items
}

func (q *queue[T]) add(item T) {
	if q.taken > len(q.items)/2 {
		left := copy(q.items, q.items[q.taken:])
		clear(q.items[left:])
		q.items, q.taken = q.items[:left], 0
	}
	q.items = append(q.items, item)
}

func (q *queue[T]) len() int { return len(q.items) - q.taken }

func (q *queue[T]) isEmpty() bool { return q.len() == 0 }

// take returns the first, of which there is one.
func (q *queue[T]) take() T {
	var none T
	first := q.items[q.taken]
	q.items[q.taken] = none // what it refers to may go
	q.taken++
	return first
}
