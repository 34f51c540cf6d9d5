package load

import (
	"fmt"
	"net/netip"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// role is what the connections of one kind do.
type role interface {
	interest() uint32                       // what epoll is asked for
	opened(l *loop, c *conn)                // the connection is established
	ready(l *loop, c *conn, events uint32)  // epoll said so
	ended(l *loop, c *conn)                 // the connection broke, or was refused
	tick(l *loop, c *conn, scheduled int64) // its turn has come, where the group has a rate
}

// group is connections that do the same, and what they have done since mark.
type group struct {
	spec   Spec
	role   role
	to     *unix.SockaddrInet4 // of clients
	conns  []*conn             // of clients, by index, where there is a rate
	sink   []byte              // that bulk is copied into; empty: it is thrown away
	wanted byte

	live      int
	bytes     uint64
	exchanges uint64
	failed    int
	latency   *hdrhistogram.Histogram

	served, closed                      int
	firstServed, lastServed, lastClosed int64
}

// longest latency that the histogram tells apart, in nanoseconds.
const longest = int64(120e9)

func (l *loop) newGroup(s Spec) (*group, error) {
	if s.Copy > largestMessage || s.Copy < 0 || s.Owed < 0 || s.Buffer < 0 {
		return nil, fmt.Errorf("copy %d, owed %d, buffer %d: out of range", s.Copy, s.Owed, s.Buffer)
	}
	g := &group{spec: s, latency: hdrhistogram.New(1000, longest, 3), sink: make([]byte, s.Copy)}
	switch s.Kind {
	case Discard:
		g.role = &discard{base{g}}
	case Source:
		g.role = &source{base{g}}
	case Send:
		g.role = &sender{base{g}}
	case Receive:
		g.role = &receiver{base{g}}
	case Echo:
		g.role = newEcho(g)
	case Exchange:
		g.role = newExchange(g)
	case Once:
		g.role = newOnce(g)
	case Hold:
		g.role = newHold(g)
	case Ignore:
		g.role = &ignore{base{g}}
	default:
		return nil, fmt.Errorf("unknown kind %q", s.Kind)
	}
	if s.Request > largestMessage || s.Response > largestMessage {
		return nil, fmt.Errorf("a message of more than %d bytes", largestMessage)
	}
	return g, nil
}

// sourceAddress is the i-th address of clients.
func sourceAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}) }

// open begins g's connections, some at a time: a listen queue is short.
func (l *loop) open(g *group) {
	g.conns = make([]*conn, g.spec.Count)
	l.openMore(g, 0)
	if g.spec.Rate > 0 {
		l.schedule(g)
	}
}

const (
	opensAtATime = 128
	openPause    = 2e6 // nanoseconds
)

func (l *loop) openMore(g *group, from int) {
	to := min(from+opensAtATime, g.spec.Count)
	for i := from; i < to; i++ {
		c, err := l.dial(g, i)
		if err != nil {
			g.failed++
			continue
		}
		g.conns[i] = c
	}
	if to < g.spec.Count {
		l.at(l.clock.Now()+openPause, func() { l.openMore(g, to) })
	}
}

// schedule gives the connections their turns, one after the other and evenly
// spread, whether or not the last turn is over.
func (l *loop) schedule(g *group) {
	interval := int64(1e9 / g.spec.Rate)
	next, at := 0, l.clock.Now()+interval
	var turn func()
	turn = func() {
		for now := l.clock.Now(); at <= now; at += interval {
			if c := g.conns[next]; c != nil && c.group == g && c.connected {
				g.role.tick(l, c, at)
			}
			next = (next + 1) % len(g.conns)
		}
		l.at(at, turn)
	}
	l.at(at, turn)
}

// mark begins the counts anew; from here on the answers of wanted count.
func (g *group) mark(wanted byte) {
	g.wanted = wanted
	g.bytes, g.exchanges, g.failed = 0, 0, 0
	g.latency.Reset()
	g.served, g.closed = 0, 0
	g.firstServed, g.lastServed, g.lastClosed = 0, 0, 0
}

func (g *group) stats(now int64) *Stats {
	return &Stats{
		At: now, Live: g.live, Bytes: g.bytes, Exchanges: g.exchanges, Failed: g.failed,
		Latency: Latency{
			Count: g.latency.TotalCount(), P50: g.latency.ValueAtQuantile(50), P90: g.latency.ValueAtQuantile(90),
			P99: g.latency.ValueAtQuantile(99), Max: g.latency.Max(),
		},
		Served: g.served, Closed: g.closed,
		FirstServed: g.firstServed, LastServed: g.lastServed, LastClosed: g.lastClosed,
	}
}

// record notes how long an exchange took.
func (g *group) record(d int64) {
	g.exchanges++
	_ = g.latency.RecordValue(min(d, longest)) // fails only above longest
}

// base is what most roles do when nothing else is said.
type base struct{ g *group }

func (b *base) opened(*loop, *conn)      {}
func (b *base) tick(*loop, *conn, int64) {}
func (b *base) ended(l *loop, c *conn) {
	b.g.failed++
	l.drop(c)
}

// over ends c on a master's side, where the end is in order.
func (b *base) over(l *loop, c *conn) { l.drop(c) }
