package run

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/consul"
	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
	"github.com/rosproxy/rosproxy/bench/faults/internal/toy"
)

// patience is how long what must happen may take.
const patience = 60 * time.Second

// round is one fault and the election under it.
type round struct {
	*World
	plan               Plan
	oldIndex, newIndex int
	injected           time.Time
	elected            map[string]time.Time // by label: when its election began
	obeyed             time.Time            // when await-fence had returned
	frozen             *tier.Instance       // that is stopped now
	leader             *consul.Agent        // of Consul's, whom the fault hit
	result             Result
	mu                 sync.Mutex
}

// Result is what came of a round.
type Result struct {
	Kind       string
	Failovers  int // labels that got another master
	Cut        int // connections, as the instances say
	Carried    int // clients that waited
	Requests   int // answered
	Packets    int // to masters
	Gap        time.Duration
	Await      time.Duration // that await-fence took
	Stale      time.Duration // that reports of those who are gone were there when all was well
	Violations []string
}

func (r *round) old() *toy.Master         { return r.masters[r.oldIndex] }
func (r *round) new() *toy.Master         { return r.masters[r.newIndex] }
func (r *round) instance() *tier.Instance { return r.instances[r.plan.Instance] }

// agent is that of the instance; b has none, and a's is hit instead.
func (r *round) agent() *consul.Agent {
	if a := r.agents[r.instance().Name]; a != nil {
		return a
	}
	return r.agents["a"]
}

func (r *round) violated(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Violations = append(r.result.Violations, fmt.Sprintf(format, args...))
}

// Round does what a plan says, and judges what came of it. An error is one of the
// proof itself.
func (w *World) Round(p Plan) (Result, error) {
	r := &round{World: w, plan: p, oldIndex: w.master, newIndex: (w.master + p.Next) % len(w.masters), elected: map[string]time.Time{}}
	if p.Kind.SameMaster {
		r.newIndex = r.oldIndex
	} else {
		r.result.Failovers = len(w.labels)
	}
	r.result.Kind = p.Kind.Name
	if err := w.consul.AwaitWhole(2 * patience); err != nil {
		return r.result, err
	}
	for _, step := range []func() error{r.inject, r.electAll, r.fenceAndPromote, r.recover, r.judge, r.rejoin} {
		if err := step(); err != nil {
			return r.result, fmt.Errorf("%v: %w", p, err)
		}
	}
	return r.result, nil
}

// inject brings the fault about. Nothing may end by it for a while.
func (r *round) inject() error {
	resumed := time.Now()
	r.crowd.Resume()
	for _, l := range r.labels { // all are served: what ends from now on ends for a reason
		if !r.await(func() bool { return len(r.crowd.Unserved(l.Name, l.term, resumed)) == 0 }) {
			r.violated("before the fault: not served are %v", r.crowd.Unserved(l.Name, l.term, resumed))
		}
	}
	r.injected = time.Now()
	if err := r.plan.Kind.Inject(r); err != nil {
		return err
	}
	time.Sleep(r.plan.Dwell)
	if r.plan.Kind.HealFirst {
		return r.plan.Kind.Heal(r)
	}
	return nil
}

// electAll elects the next master of every label, of all at the same time.
func (r *round) electAll() error {
	elect := r.plan.Kind.Elect
	if elect == nil {
		elect = (*round).elect
	}
	for _, l := range r.labels {
		r.elected[l.Name] = time.Now()
	}
	return each(r.labels, func(l *label) error { return elect(r, l) })
}

// each does something for all labels at the same time.
func each(labels []*label, do func(*label) error) error {
	errs := make(chan error, len(labels))
	for _, l := range labels {
		go func() { errs <- do(l) }()
	}
	var all []error
	for range labels {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// await waits until ok holds, and reports whether it did in time.
func (r *round) await(ok func() bool) bool {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// recover waits until everything is in order again: every instance is ready and
// names the new master, every client is served by it.
func (r *round) recover() error {
	r.master = r.newIndex
	var why string
	for _, i := range r.instances {
		if !r.await(func() bool { why = r.disagrees(i); return why == "" }) {
			r.violated("%v after the promotion %s", patience, why)
		}
	}
	since := time.Now()
	for _, l := range r.labels {
		if !r.await(func() bool { return len(r.crowd.Unserved(l.Name, l.term, since)) == 0 }) {
			r.violated("%v after the promotion not served are %v", patience, r.crowd.Unserved(l.Name, l.term, since))
		}
	}
	return nil
}

// disagrees tells how an instance is not as it should be; empty: it is.
func (r *round) disagrees(i *tier.Instance) string {
	statuses, err := i.Statuses()
	if err != nil {
		return fmt.Sprintf("%s does not answer: %v", i.Name, err)
	}
	if len(statuses) != 1 || statuses[0].State != "serving" {
		return fmt.Sprintf("%s is %s, with %d processes", i.Name, statuses[0].State, len(statuses))
	}
	for _, l := range r.labels {
		if got, want := statuses[0].MasterOf(l.Name), l.address(r.new()).String(); got != want {
			return fmt.Sprintf("%s has the master %q of %s; want %q", i.Name, got, l.Name, want)
		}
	}
	for _, c := range statuses[0].Consul {
		if !c.OK {
			return fmt.Sprintf("%s has trouble with Consul at %s: %s", i.Name, c.Address, c.Error)
		}
	}
	return ""
}

// rejoin makes those who are not elected replicas.
func (r *round) rejoin() error {
	for n, m := range r.masters {
		if n == r.newIndex {
			continue
		}
		for _, l := range r.labels {
			if err := m.Rejoin(l.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
