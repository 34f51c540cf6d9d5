package run

import (
	"fmt"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/consul"
)

// fenceAndPromote promotes each label's next master once every instance that runs
// has let go of the old one, and heals the fault: after the promotions, but before
// those that wait for it.
func (r *round) fenceAndPromote() error {
	k := r.plan.Kind
	if k.SameMaster {
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
	return r.promoteFenced(later)
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
