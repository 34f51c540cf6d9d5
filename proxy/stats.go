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
	Idle                         // no byte either way
	HalfClose                    // one side had closed, the other sent nothing
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

// tally counts for one label on one shard. Its shard alone writes and reads
// it; Snapshot asks the shard.
type tally struct {
	active, held  int
	accepted      uint64
	closed        [NumReasons]uint64
	parted        uint64    // of closed[DrainDeadline]
	bytes         [2]uint64 // by direction
	spliced       uint64
	pipes         int
	pipeFallbacks uint64
	dialFailures  uint64
	dial          histogram
}

// addTo adds t to the sums of its label.
func (t *tally) addTo(l *LabelSnapshot) {
	l.Active += t.active
	l.Held += t.held
	l.Accepted += t.accepted
	for i, n := range t.closed {
		l.Closed[i] += n
	}
	l.Parted += t.parted
	l.BytesUp += t.bytes[up]
	l.BytesDown += t.bytes[down]
	l.SplicedBytes += t.spliced
	l.PipesInUse += t.pipes
	l.PipeFallbacks += t.pipeFallbacks
	l.DialFailures += t.dialFailures
	for i, n := range t.dial.counts {
		l.Dial.Counts[i] += n
	}
	l.Dial.Sum += t.dial.sum
}

// Upper bounds in seconds.
var (
	dialBounds  = []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2, 5}
	fenceBounds = []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, 1}
	cutBounds   = []float64{.0005, .001, .005, .01, .05, .1, .25, .5, 1, 5}
)

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
