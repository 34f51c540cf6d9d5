package proxy

import (
	"strings"
	"time"
)

// Snapshot is the state of the proxy at about one moment.
type Snapshot struct {
	Labels    []LabelSnapshot // in the order of Config.Listeners
	Accepting bool
	Full      bool // as many client connections as MaxConns allows
	MaxConns  int  // Config.MaxConns, or what its default has come to
}

// Active is the number of client connections of all labels.
func (s Snapshot) Active() int {
	n := 0
	for _, l := range s.Labels {
		n += l.Active
	}
	return n
}

// LabelSnapshot is the state of one label; counters only grow.
type LabelSnapshot struct {
	Label        string
	Listen       string        // the bound addresses, ", " between them
	Master       Master        // zero: none at the moment
	LostSince    time.Time     // without a master: since when, whatever took it; zero: the label has never had one
	LostFor      time.Duration // the same, by a clock that nobody sets
	Loop         bool          // there is none because it would be one of our own listeners
	Pause        *Pause        // by an operator; nil: none
	PauseEnds    time.Time     // its Until, on the wall clock
	Unconfirmed  bool          // a pause is over, and clients wait for the read that names the master
	Epoch        uint64
	Since        time.Time // when the epoch began
	LastFailover *Cut

	Active   int // client connections, the held ones included
	Held     int // of them waiting for a master
	Accepted uint64
	Closed   [NumReasons]uint64 // by Reason
	// ClosedQuiet of Closed[DrainDeadline] had FIN in a quiet moment and ended before the deadline.
	ClosedQuiet uint64

	BytesUp, BytesDown uint64 // client to master, master to client
	SplicedBytes       uint64 // of both together
	PipesInUse         int
	PipeFallbacks      uint64 // times a stream was copied because the pipe budget was spent or the kernel had no pipe to give

	DialFailures uint64
	DialErrors   map[string]uint64 // of DialFailures, by the name of their errno, such as ECONNREFUSED, or other
	Dial         Histogram         // seconds of successful dials

	Failovers       uint64
	MastersLost     uint64 // times that nobody was elected any more
	FailoverDropped uint64
	Fence           Histogram // seconds
	Cut             Histogram // seconds
}

// labelsPerPiece is how many labels a shard copies the counters of in one piece.
const labelsPerPiece = 64

// Overview is a Snapshot without what the shards count: Active, Held and the
// rest of that stay zero. It waits for no shard.
func (p *Proxy) Overview() Snapshot {
	out := Snapshot{Accepting: p.serving.Load() && p.listeners.open.Load(), Full: p.slots.isFull(), MaxConns: int(p.slots.max)}
	for i, lb := range p.labels {
		out.Labels = append(out.Labels, p.describeLabel(lb, p.histories[i]))
	}
	return out
}

// Snapshot reads the state of every label from the shards.
func (p *Proxy) Snapshot() Snapshot {
	out := p.Overview()
	copies := make(chan []counters, len(p.shards))
	p.broadcastTask(func(s *shard) task { return s.copyCounters(copies) })
	for range p.shards {
		for i, c := range <-copies {
			c.addTo(&out.Labels[i])
		}
	}
	return out
}

func (p *Proxy) describeLabel(lb *label, h *history) LabelSnapshot {
	e := lb.current.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	l := LabelSnapshot{
		Label: lb.name, Listen: p.boundOf(lb), Epoch: e.number, Since: e.since, LastFailover: h.last, Loop: e.refused.IsValid(),
		Failovers: h.failovers, MastersLost: h.lost, FailoverDropped: h.dropped, Fence: h.fence.export(), Cut: h.cut.export(),
		Dial: newHistogram(dialBounds).export(), DialErrors: map[string]uint64{},
	}
	switch s := lb.pauseState(); {
	case s.Lasts():
		l.Pause, l.PauseEnds = &Pause{lb.name, s}, p.wallTime(s.Until)
	case s.Holds():
		l.Unconfirmed = true
	}
	switch m, lost := e.inOffice(); {
	case m != nil:
		l.Master = *m
	case lost != nil:
		l.LostSince, l.LostFor = lost.at, time.Duration(p.clock.now()-lost.clock)
	}
	return l
}

func (p *Proxy) boundOf(lb *label) string {
	var bound []string
	for i := range p.listeners.sockets { // no copy: its descriptor is not ours to read
		if s := &p.listeners.sockets[i]; s.label == lb {
			bound = append(bound, s.bound.String())
		}
	}
	return strings.Join(bound, ", ")
}

func (s *shard) copyCounters(to chan<- []counters) task {
	out := make([]counters, 0, len(s.counters))
	return func() (more bool) {
		for n := min(labelsPerPiece, len(s.counters)-len(out)); n > 0; n-- {
			out = append(out, s.counters[len(out)].clone())
		}
		if len(out) < len(s.counters) {
			return true
		}
		to <- out
		return false
	}
}

// addTo adds c to the sums of its label.
func (c *counters) addTo(l *LabelSnapshot) {
	l.Active += c.active
	l.Held += c.held
	l.Accepted += c.accepted
	for i, n := range c.closed {
		l.Closed[i] += n
	}
	l.ClosedQuiet += c.closedQuiet
	l.BytesUp += c.bytes[up]
	l.BytesDown += c.bytes[down]
	l.SplicedBytes += c.spliced
	l.PipesInUse += c.pipes
	l.PipeFallbacks += c.pipeFallbacks
	for i, n := range c.dialFailures {
		if n > 0 {
			l.DialErrors[dialErrors[i]] += n
			l.DialFailures += n
		}
	}
	for i, n := range c.dial.counts {
		l.Dial.Counts[i] += n
	}
	l.Dial.Sum += c.dial.sum
}
