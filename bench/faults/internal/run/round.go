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
	promoted           time.Time            // when the last label's master was
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

// fenceAndPromote promotes each label's next master once every instance that runs
// has let go of the old one, and heals the fault: after the promotions, but before
// those that wait for it.
func (r *round) fenceAndPromote() error {
	k := r.plan.Kind
	if k.SameMaster {
		r.promoted = time.Now()
		return nil
	}
	var now, later []*label
	for _, l := range r.labels {
		// Without an answer of Consul a label with --on-outage keep goes on as before.
		if r.blinds() && l.Key == "" || k.ShortStop && l.reports {
			later = append(later, l)
		} else {
			now = append(now, l)
		}
	}
	if err := r.promoteFenced(now); err != nil {
		return err
	}
	if k.Heal != nil && !k.HealFirst {
		if err := k.Heal(r); err != nil {
			return err
		}
	}
	if err := r.promoteFenced(later); err != nil {
		return err
	}
	r.promoted = time.Now()
	return nil
}

func (r *round) blinds() bool { return r.plan.Kind.Blinds != nil && r.plan.Kind.Blinds(r.plan) }

// promoteFenced promotes the next master of each label as soon as that is fenced.
func (r *round) promoteFenced(labels []*label) error {
	ready := sync.OnceValue(func() error {
		if r.plan.Kind.Ready == nil {
			return nil
		}
		return r.plan.Kind.Ready(r)
	})
	return each(labels, func(l *label) error {
		r.awaitFence(l)
		if err := ready(); err != nil {
			return err
		}
		if r.plan.Kind.Ready != nil && !l.reports {
			r.awaitFence(l) // whoever an upgrade has brought has to obey as well
		}
		return r.promote(l, r.new())
	})
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

// awaitFence waits until nobody can be served by the old master of a label any
// more: by await-fence where there are reports, else by asking and looking.
func (r *round) awaitFence(l *label) {
	if l.reports {
		r.awaitReports(l)
		return
	}
	deadline := time.Now().Add(patience)
	for why := r.unfenced(l); why != ""; why = r.unfenced(l) {
		if time.Now().After(deadline) {
			r.violated("%s is not fenced %v after the election: %s", l.Name, patience, why)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitReports does what the new master would do before it takes writes.
func (r *round) awaitReports(l *label) {
	began := time.Now()
	args := []string{r.rosproxy, "await-fence", "--fence-report=" + reports, "--label=" + l.Name, "--leader-key=" + l.Key, "--timeout=" + patience.String()}
	for _, s := range r.consul.Servers {
		args = append(args, "--consul-addr="+s.Addr)
	}
	said, err := r.hosts["control"].Run([]string{"CONSUL_HTTP_TOKEN=" + consul.Token}, args...)
	if err != nil {
		r.violated("await-fence of %s: %v: %s", l.Name, err, said)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.obeyed = time.Now()
	r.result.Await = max(r.result.Await, r.obeyed.Sub(began))
}

// unfenced tells who has not let go of the old master of a label yet; empty:
// nobody. One that stands still moves nothing, and has to obey before it moves anything.
func (r *round) unfenced(l *label) string {
	old := l.address(r.old())
	for _, i := range r.instances {
		if i == r.frozen || len(i.PIDs()) == 0 {
			continue
		}
		statuses, err := i.Statuses()
		if err != nil {
			return fmt.Sprintf("%s: %v", i.Name, err)
		}
		for _, s := range statuses {
			if s.MasterOf(l.Name) == old.String() {
				return fmt.Sprintf("%s, process %d: %v is its master", i.Name, s.PID, old)
			}
		}
		sockets, err := i.Host.Sockets(old)
		if err != nil {
			return err.Error()
		}
		for _, s := range sockets {
			if s.CanCarry() {
				return fmt.Sprintf("%s: %v", i.Name, s)
			}
		}
	}
	return ""
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
