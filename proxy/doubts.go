package proxy

// doubts are the labels whose masters a shard may not trust after it stood
// still, until a read that began afterwards has confirmed them. They belong to
// its loop.
type doubts struct {
	since int64 // of the clock; 0: there is none
	about []bool
}

func (d *doubts) has(l *label) bool { return d.since != 0 && d.about[l.index] }

// isOver reports whether l may be trusted again. A doubt ends without a
// confirmation where the label says for how long it can last.
func (d *doubts) isOver(l *label, now int64) bool {
	return l.revalidate == 0 || l.confirmed.Load() >= d.since || l.revalidate > 0 && now >= d.since+int64(l.revalidate)
}

// isUncertain reports whether no byte may go to the label's master for now, although no other
// was elected: its lease has lapsed, or this loop stood still and no read has confirmed it since.
func (lb *label) isUncertain(l *loop) bool { return l.now >= lb.lease.Load() || l.doubts.has(lb) }
