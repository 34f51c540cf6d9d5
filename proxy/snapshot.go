package proxy

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is the state of the proxy at about one moment.
type Snapshot struct {
	Labels    []LabelSnapshot // in the order of Config.Listeners
	Accepting bool
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
	Listen       string // the bound address
	Master       Master // zero: none at the moment
	Epoch        uint64
	Since        time.Time // when the epoch began
	LastFailover *Cut

	Active   int // client connections, the held ones included
	Held     int // of them waiting for a master
	Accepted uint64
	Closed   [NumReasons]uint64 // by Reason
	Parted   uint64             // of Closed[DrainDeadline] those that had FIN and ended before the deadline

	BytesUp, BytesDown uint64 // client to master, master to client
	SplicedBytes       uint64 // of both together
	PipesInUse         int
	PipeFallbacks      uint64 // times a stream was copied because the pipe budget was spent

	DialFailures uint64
	Dial         Histogram // seconds of successful dials

	Failovers       uint64
	FailoverDropped uint64
	Fence           Histogram // seconds
	Cut             Histogram // seconds
}

// Histogram counts observations by upper bound; Counts[i] holds those in
// (Bounds[i-1], Bounds[i]], and the last element those above all bounds.
type Histogram struct {
	Bounds []float64
	Counts []uint64 // len(Bounds)+1, not cumulative
	Sum    float64
}

// ConnInfo describes one live connection.
type ConnInfo struct {
	ID        uint64
	Label     string
	Client    string // address:port of the peer
	Source    string // address:port named by a PROXY header; empty without one, or when it names nobody
	Master    string // address:port; empty before a master is dialled
	Epoch     uint64
	Age       time.Duration
	BytesUp   uint64
	BytesDown uint64
	State     string // header, held, dialing, relaying, parting
}

// Filter selects connections; its zero value selects all.
type Filter struct {
	Label string // empty: every label
	Limit int    // 0: no limit
}

// Snapshot reads the state of every label from the shards.
func (p *Proxy) Snapshot() Snapshot {
	out := Snapshot{Accepting: p.serving.Load() && p.listeners.open.Load()}
	for i, o := range p.offices {
		l := o.snapshot()
		l.Listen = p.listeners.bound[i].String()
		l.Dial = newHistogram(dialBounds).export()
		out.Labels = append(out.Labels, l)
	}
	parts := make(chan []tally, len(p.shards))
	p.tell(func(s *shard) { parts <- s.copyTallies() })
	for range p.shards {
		for i, t := range <-parts {
			t.addTo(&out.Labels[i])
		}
	}
	return out
}

func (o *office) snapshot() LabelSnapshot {
	e := o.current.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	l := LabelSnapshot{
		Label: o.label, Epoch: e.number, Since: e.since, LastFailover: o.last,
		Failovers: o.failovers, FailoverDropped: o.dropped, Fence: o.fence.export(), Cut: o.cut.export(),
	}
	if e.takesClients() && o.holder.Address == e.address {
		l.Master = o.holder
	}
	return l
}

func (s *shard) copyTallies() []tally {
	c := slices.Clone(s.tallies)
	for i := range c {
		c[i].dial.counts = slices.Clone(c[i].dial.counts)
	}
	return c
}

// Connections lists live connections, those of the filter's label or all.
func (p *Proxy) Connections(f Filter) []ConnInfo {
	parts := make(chan []ConnInfo, len(p.shards))
	p.tell(func(s *shard) { parts <- s.describe(f) })
	all := []ConnInfo{}
	for range p.shards {
		all = append(all, <-parts...)
	}
	slices.SortFunc(all, func(a, b ConnInfo) int { return cmp.Compare(a.ID, b.ID) })
	if f.Limit > 0 && len(all) > f.Limit {
		all = all[:f.Limit]
	}
	return all
}

func (s *shard) describe(f Filter) []ConnInfo {
	var out []ConnInfo
	now := s.p.clock()
	s.conns.all(func(c *conn) {
		if c.state == cutting || f.Label != "" && c.office.label != f.Label || f.Limit > 0 && len(out) == f.Limit {
			return
		}
		i := ConnInfo{
			ID: c.id, Label: c.office.label, Client: c.peer.String(), Age: time.Duration(now - c.accepted),
			BytesUp: c.flows[up].bytes, BytesDown: c.flows[down].bytes, State: c.state.String(),
		}
		if c.origin != nil {
			i.Source = c.origin.source.String()
		}
		if c.epoch != nil {
			i.Master, i.Epoch = name(c.epoch.address), c.epoch.number
		}
		out = append(out, i)
	})
	return out
}
