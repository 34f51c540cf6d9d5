package run

import (
	"fmt"

	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
)

// account is what an instance has said of itself so far.
type account struct {
	pid    int            // of the process that the rest is of
	logged map[string]int // metric and label -> as its log has it
	base   usage          // what it used when it was quiet for the first time
}

// begin begins the account of a process.
func (a *account) begin(pid int) { a.pid, a.logged, a.base = pid, map[string]int{}, usage{} }

// usage is what a process uses, without what its clients take, and without its
// connections to Consul, which stay for a while when they are not needed any more.
type usage struct{ descriptors, goroutines, memory float64 }

// What may be more at the end than at the beginning.
const (
	mostToConsul    = 24 // connections to one address: 16 that are idle, and those that are not
	moreDescriptors = 16
	moreGoroutines  = 12
	moreMemory      = 32 << 20
)

// said are the metrics that a log has lines for: which lines, and what they count.
var said = map[string]func(tier.Line) int{
	"failovers_total": func(l tier.Line) int { return count(l.Message == "failover") },
	"failover_dropped_total": func(l tier.Line) int {
		if l.Message == "failover" {
			return l.Dropped
		}
		return 0
	},
	"master_lost_total": func(l tier.Line) int { return count(l.Message == "master lost") },
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// judgeAccounts looks whether log, metrics and /status of each instance agree,
// and whether it has given back what it took.
func (r *round) judgeAccounts(logs map[string][]tier.Line) error {
	for _, i := range r.instances {
		a := r.counted[i.Name]
		s, err := i.Status()
		if err != nil {
			return err
		}
		m, err := i.Metrics()
		if err != nil {
			return err
		}
		fresh := s.PID != a.pid
		if fresh { // a log has the lines of all generations: the count begins anew
			a.begin(s.PID)
		}
		for _, l := range r.labels {
			for name, of := range said {
				key := name + " of " + l.Name
				for _, line := range logs[i.Name] {
					if line.Label == l.Name {
						a.logged[key] += of(line)
					}
				}
				if got := m.Of(name, l.Name); fresh {
					a.logged[key] = got
				} else if got != a.logged[key] {
					r.violated("%s of %s: the metric says %d, the log %d", key, i.Name, got, a.logged[key])
				}
			}
		}
		for _, l := range s.Labels {
			if got := m.Of("failovers_total", l.Label); got != l.Failovers {
				r.violated("failovers of %s on %s: the metric says %d, /status %d", l.Label, i.Name, got, l.Failovers)
			}
		}
		if why := r.unreturned(i, a); why != "" {
			r.violated("%s: %s", i.Name, why)
		}
	}
	return nil
}

// unreturned tells what an instance has more of than at the beginning, for good.
func (r *round) unreturned(i *tier.Instance, a *account) string {
	var why string
	r.await(func() bool {
		s, err := i.Status()
		if err != nil {
			why = err.Error()
			return false
		}
		m, err := i.Metrics()
		if err != nil {
			why = err.Error()
			return false
		}
		consul, err := i.ToConsul()
		if err != nil {
			why = err.Error()
			return false
		}
		sum := 0
		for _, n := range consul {
			sum += n
		}
		now := usage{
			descriptors: m["process_open_fds"] - float64(2*s.Active()+sum),
			goroutines:  m["go_goroutines"] - float64(2*sum), // net/http has two for each
			memory:      r.memory(m),
		}
		if a.base == (usage{}) {
			a.base = now
		}
		why = ""
		for address, n := range consul {
			if n > mostToConsul {
				why = fmt.Sprintf("has %d connections to Consul at %s; want %d at most", n, address, mostToConsul)
			}
		}
		for _, u := range []struct {
			what             string
			now, base, allow float64
		}{
			{"descriptors", now.descriptors, a.base.descriptors, moreDescriptors},
			{"goroutines", now.goroutines, a.base.goroutines, moreGoroutines},
			{"bytes of memory", now.memory, a.base.memory, moreMemory},
		} {
			if u.now > u.base+u.allow {
				why = fmt.Sprintf("has %.0f %s; want %.0f, or %.0f more at most", u.now, u.what, u.base, u.allow)
			}
		}
		return why == ""
	})
	return why
}

// memory is what a process has in memory. What the race detector notes of each
// address grows for as long as the process runs, and stays: of a program built
// with it only what Go's runtime holds is counted.
func (w *World) memory(m tier.Metrics) float64 {
	if w.raceDetector {
		return m["go_memstats_sys_bytes"] - m["go_memstats_heap_released_bytes"]
	}
	return m["process_resident_memory_bytes"]
}
