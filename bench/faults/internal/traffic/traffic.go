// Package traffic is the clients: some keep their connection, some open one for
// each request, and some always have bytes under way.
package traffic

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/history"
	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// Kind is how a client uses connections.
type Kind string

// The kinds of client.
const (
	Long  Kind = "long"  // one connection, for as long as it lives
	Short Kind = "short" // one for each request
	Pump  Kind = "pump"  // one, with more under way than the master takes
)

// Crowd is all clients.
type Crowd struct {
	host  *lan.Host
	began time.Time
	stop  chan struct{}
	wg    sync.WaitGroup
	gate  *gate

	mu      sync.Mutex
	clients []*client
	ops     map[string][]history.Op // by label
	ends    []End
	refused []Refusal
}

// End is that of a connection which the client has not closed itself.
type End struct {
	Label, Instance string
	Kind            Kind
	Opened, At      time.Time
	How             string
	Master          string // who has answered; empty: nobody
}

func (e End) String() string {
	return fmt.Sprintf("connection of a %s client of %s through %s to %q, opened at %s, ended at %s: %s",
		e.Kind, e.Label, e.Instance, e.Master, clock(e.Opened), clock(e.At), e.How)
}

// Refusal is a connection that could not be made.
type Refusal struct {
	Label, Instance string
	At              time.Time
	How             string
}

func (r Refusal) String() string {
	return fmt.Sprintf("client of %s was refused by %s at %s: %s", r.Label, r.Instance, clock(r.At), r.How)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// New makes a crowd without clients, on a host. Times of requests are since began.
func New(h *lan.Host, began time.Time) *Crowd {
	return &Crowd{host: h, began: began, stop: make(chan struct{}), gate: newGate(), ops: map[string][]history.Op{}}
}

// Add adds a client.
func (c *Crowd) Add(kind Kind, label, instance string, to netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &client{crowd: c, number: len(c.clients), kind: kind, label: label, instance: instance, to: to.String()}
	c.clients = append(c.clients, k)
	c.wg.Go(func() { _ = c.host.Do(func() error { k.run(); return nil }) })
}

// Pause waits until no request is under way and lets none begin. It tells who
// has waited for too long.
func (c *Crowd) Pause(patience time.Duration) []string { return c.gate.shut(patience) }

// Resume lets requests begin.
func (c *Crowd) Resume() { c.gate.open() }

// Close ends the clients.
func (c *Crowd) Close() {
	close(c.stop)
	c.mu.Lock()
	for _, k := range c.clients {
		k.abandon()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// Seen is what has happened since it was taken last.
type Seen struct {
	Ops     map[string][]history.Op
	Ends    []End
	Refused []Refusal
	Gap     time.Duration // the longest that a client went without an answer
}

// Take takes what has happened.
func (c *Crowd) Take() Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Seen{Ops: c.ops, Ends: c.ends, Refused: c.refused}
	c.ops, c.ends, c.refused = map[string][]history.Op{}, nil, nil
	for _, k := range c.clients {
		s.Gap = max(s.Gap, k.gap)
		k.gap, k.answered = 0, time.Time{}
	}
	return s
}

// Unserved are the clients of a label that have had no answer of a term, or a
// later one, since a moment. For a pump it is enough that its connection began with one.
func (c *Crowd) Unserved(label string, term uint64, since time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var some []string
	for _, k := range c.clients {
		if k.label == label && (k.term < term || k.kind != Pump && k.answered.Before(since)) {
			some = append(some, fmt.Sprint(k))
		}
	}
	return some
}
