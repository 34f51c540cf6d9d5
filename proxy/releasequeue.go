package proxy

// releaseQueue is a loop's clients of one label that may be dialled: a heap, with the
// one that has waited longest on top.
type releaseQueue struct {
	conns  []*conn // in slots of the slab, which do not move
	listed bool    // the label is one of those that the loop releases
}

func (q *releaseQueue) Len() int { return len(q.conns) }

func (q *releaseQueue) Less(i, j int) bool {
	a, b := q.conns[i], q.conns[j]
	return a.waitingSince < b.waitingSince || a.waitingSince == b.waitingSince && a.id < b.id
}

func (q *releaseQueue) Swap(i, j int) {
	q.conns[i], q.conns[j] = q.conns[j], q.conns[i]
	q.conns[i].queuePlace, q.conns[j].queuePlace = int32(i+1), int32(j+1)
}

func (q *releaseQueue) Push(c any) {
	q.conns = append(q.conns, c.(*conn))
	c.(*conn).queuePlace = int32(len(q.conns))
}

func (q *releaseQueue) Pop() any {
	last := len(q.conns) - 1
	c := q.conns[last]
	q.conns[last] = nil
	q.conns = q.conns[:last]
	c.queuePlace = 0
	return c
}

// oldest is since when the first waits.
func (q *releaseQueue) oldest() int64 {
	if len(q.conns) == 0 {
		return never
	}
	return q.conns[0].waitingSince
}
