// Package workloads is what proxies are measured at. A workload knows how to
// run one peer once; that starts everything anew, so that nothing of one
// peer's is left when the next is measured.
package workloads

import (
	"context"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

// Samples are what one run of one peer gave, by figure.
type Samples = map[string][]float64

// Workload is one kind of work.
type Workload struct {
	Name   string // on the command line
	Title  string
	About  string // what exactly is done and measured
	Peers  []string
	Units  [][2]string // the figures, and what each is in
	Checks []results.Check
	Run    func(ctx context.Context, b *Bench, peer string) (Samples, error) // with an error, what was measured before it
	Limit  time.Duration                                                     // of one run; 0: a minute
	Times  int                                                               // as many rounds as others; 0: 1
	Consul bool                                                              // it asks the real Consul
	Fifth  bool                                                              // one round for five of others: it takes minutes
}

// Rounds are how many rounds w is run where others are run so many.
func (w *Workload) Rounds(others int) int {
	if w.Fifth {
		return max(others/5, 1)
	}
	return others * max(w.Times, 1)
}

// Result is an empty result of w.
func (w *Workload) Result() *results.Workload {
	r := &results.Workload{Name: w.Name, Title: w.Title, About: w.About, Peers: w.Peers, Checks: w.Checks}
	for _, u := range w.Units {
		r.Figures = append(r.Figures, &results.Figure{Name: u[0], Unit: u[1], Samples: map[string][]float64{}})
	}
	return r
}

// Bench is what runs need.
type Bench struct {
	Dir       string            // for files of the run
	Rosproxy  map[string]string // by the peer's name: binaries of rosproxy; the first is called rosproxy
	WarmUp    time.Duration
	Measure   time.Duration
	Elections int           // in one run
	Held      int           // connections of the workloads that hold many
	GiveBack  time.Duration // after which what many clients took is to be given back

	// Of the workloads that are run once where others are run five times.
	AllElections int           // in one run
	Idle         time.Duration // how long idle CPU is measured
	Starts       int           // how often a start is timed

	Dev     func(context.Context) (*consul.Agent, error) // a dev agent, started when first asked for
	Server  func(context.Context) (*consul.Agent, error) // one server, as in production
	Cluster func(context.Context) (*consul.Agent, error) // a client agent of three servers

	rigs  int
	place int // among the processes that measure here
}

// All are the workloads, in the order in which they run.
func All() []*Workload {
	var all []*Workload
	all = append(all, bulk()...)
	all = append(all, exchanges()...)
	all = append(all, connects()...)
	all = append(all, fairness()...)
	all = append(all, unprivileged(), idle())
	all = append(all, stuck()...)
	all = append(all, cut(), storm())
	all = append(all, fences()...)
	all = append(all, elections()...)
	all = append(all, labels()...)
	return append(all, leaders()...)
}

// rivals are those to be better than.
var rivals = []string{peers.HAProxy, peers.Nginx}
