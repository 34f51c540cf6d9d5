package proxy

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"
)

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
	State     string // header, held, dialing, relaying, closing
}

// Filter selects connections; its zero value selects all.
type Filter struct {
	Label string // empty: every label
	Limit int    // 0: no limit
}

// Connections lists live connections, those of the filter's label or all.
func (p *Proxy) Connections(f Filter) []ConnInfo {
	return slices.AppendSeq([]ConnInfo{}, p.EachConnection(f))
}

// EachConnection is Connections one by one: what there is of them at the
// beginning. The shards only copy what they know, in pieces; it is put into
// words when it is asked for, so that who is slow to take it costs little.
func (p *Proxy) EachConnection(f Filter) iter.Seq[ConnInfo] {
	return func(yield func(ConnInfo) bool) {
		copies := make(chan []connCopy, len(p.shards))
		p.broadcastTask(func(s *shard) task { return s.copyConns(f, copies) })
		var found []connCopy
		for range p.shards {
			found = append(found, <-copies...)
		}
		slices.SortFunc(found, func(a, b connCopy) int { return cmp.Compare(a.id, b.id) })
		if f.Limit > 0 && len(found) > f.Limit {
			found = found[:f.Limit]
		}
		now := p.clock.now()
		for i := range found {
			if !yield(found[i].describe(now)) {
				return
			}
		}
	}
}

// connCopy is what a shard tells of one connection.
type connCopy struct {
	id       uint64
	label    *label
	epoch    *epoch
	peer     netip.AddrPort
	source   netip.AddrPort
	accepted int64
	bytes    [2]uint64
	state    state
}

func (s *shard) copyConns(f Filter, to chan<- []connCopy) task {
	var out []connCopy
	at := 0
	return func() (more bool) {
		at = s.conns.some(at, slotsPerPiece, func(c *conn) {
			if c.state == cutting || f.Label != "" && c.label.name != f.Label || f.Limit > 0 && len(out) == f.Limit {
				return
			}
			i := connCopy{
				id: c.id, label: c.label, epoch: c.epoch, peer: c.peer(), accepted: c.accepted,
				bytes: [2]uint64{c.flows[up].bytes, c.flows[down].bytes}, state: c.state,
			}
			if c.origin != nil {
				i.source = c.origin.Source
			}
			out = append(out, i)
		})
		if at < s.conns.size() {
			return true
		}
		to <- out
		return false
	}
}

func (c *connCopy) describe(now int64) ConnInfo {
	i := ConnInfo{
		ID: c.id, Label: c.label.name, Client: c.peer.String(), Source: nameOf(c.source), Age: time.Duration(now - c.accepted),
		BytesUp: c.bytes[up], BytesDown: c.bytes[down], State: c.state.String(),
	}
	if c.epoch != nil {
		i.Master, i.Epoch = nameOf(c.epoch.address), c.epoch.number
	}
	return i
}
