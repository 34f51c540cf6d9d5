package proxy

import (
	"slices"
	"time"
)

// Reason says why a connection was closed.
type Reason uint8

// The reasons; String gives the names used in logs and metrics.
const (
	ClientClosed   Reason = iota // the client ended it first, by FIN
	MasterClosed                 // the master ended it first, by FIN
	ClientReset                  // RST from the client, or it was found dead
	MasterReset                  // RST from the master, or it was found dead
	Failover                     // its epoch is over
	NoMaster                     // held until the hold timeout
	HoldOverflow                 // too many were held already
	ConnectFailed                // the master took no connection until the hold timeout
	BadProxyHeader               // no valid PROXY header where one is required
	UntrustedPeer                // a peer that may not connect
	Idle                         // no byte in or out either way
	HalfClose                    // one side had closed, and nothing went in or out any more
	DrainDeadline                // still there when the drain's time was up
	Killed                       // by an operator, or by the end of the process
	Internal                     // an error of the proxy or of its machine, logged
	NumReasons     int    = iota
)

var reasonNames = [NumReasons]string{
	"client_closed", "master_closed", "client_reset", "master_reset", "failover", "no_master",
	"hold_overflow", "connect_failed", "bad_proxy_header", "untrusted_peer", "idle", "half_close",
	"drain_deadline", "killed", "internal",
}

func (r Reason) String() string { return reasonNames[r] }

// counters are those of one label on one shard, which alone writes and reads
// them; Snapshot asks the shard.
type counters struct {
	active, held  int
	accepted      uint64
	closed        [NumReasons]uint64
	closedQuiet   uint64    // of closed[DrainDeadline], by FIN in a quiet moment
	bytes         [2]uint64 // by direction
	spliced       uint64
	pipes         int
	pipeFallbacks uint64
	dialFailures  [len(dialErrors)]uint64
	dial          histogram
}

// Upper bounds in seconds.
var (
	dialBounds  = []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2, 5}
	fenceBounds = []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, 1}
	cutBounds   = []float64{.0005, .001, .005, .01, .05, .1, .25, .5, 1, 5}
)

// dialErrors are the errors of a dial that are counted by their name; the last
// stands for all others.
var dialErrors = [...]string{
	"ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET", "EACCES", "EPERM", "EADDRNOTAVAIL", "other",
}

func (c *counters) countDialFailure(name string) {
	i := slices.Index(dialErrors[:], name)
	if i < 0 {
		i = len(dialErrors) - 1
	}
	c.dialFailures[i]++
}

// clone is a copy that shares nothing with c.
func (c *counters) clone() counters {
	out := *c
	out.dial.counts = slices.Clone(c.dial.counts)
	return out
}

// Histogram counts observations by upper bound; Counts[i] holds those in
// (Bounds[i-1], Bounds[i]], and the last element those above all bounds.
type Histogram struct {
	Bounds []float64
	Counts []uint64 // len(Bounds)+1, not cumulative
	Sum    float64
}

type histogram struct {
	bounds []float64
	counts []uint64
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(d time.Duration) {
	seconds := d.Seconds()
	i, _ := slices.BinarySearch(h.bounds, seconds)
	h.counts[i]++
	h.sum += seconds
}

func (h histogram) export() Histogram {
	return Histogram{Bounds: h.bounds, Counts: slices.Clone(h.counts), Sum: h.sum}
}
