package run

import (
	"fmt"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/consul"
	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
)

func kill(a *consul.Agent) error   { a.Kill(); return nil }
func freeze(a *consul.Agent) error { return a.Freeze() }

// onAgent does something to an agent that was found, unless it was not.
func onAgent(a *consul.Agent, err error, do func(*consul.Agent) error) error {
	if err != nil {
		return err
	}
	return do(a)
}

// stoppedAtLeast is how long an instance that is stopped stands still: one that does
// for less than a second may not notice, as the reference says.
const stoppedAtLeast = 2500 * time.Millisecond

// leaseAtLeast is how long a lease goes on after the last moment when all was well: it
// counts from the beat before, or from the read before.
const leaseAtLeast = fenceTTL - fenceTTL/5 - fenceTTL/5

func freezeInstance(r *round) error {
	r.frozen = r.instance()
	return r.instance().Freeze()
}

func thawInstance(r *round) error {
	time.Sleep(time.Until(r.injected.Add(stoppedAtLeast)))
	r.frozen = nil
	if len(r.instance().PIDs()) == 0 {
		return r.instance().Start()
	}
	return r.instance().Thaw()
}

// reviveInstance starts an instance anew that was stopped: the kernel has killed it
// at the end of its lease.
func reviveInstance(r *round) error {
	if !r.await(func() bool { return len(r.instance().PIDs()) == 0 }) {
		r.violated("%s, which stands still with connections under a lease, has not been killed", r.instance().Name)
		return r.instance().Kill()
	}
	r.frozen = nil
	return r.instance().Start()
}

// endDrain lets a drain of the instance end, and has it serve again.
func endDrain(r *round) error {
	i := r.instance()
	if !r.plan.Coin {
		return i.Undrain()
	}
	for deadline := time.Now().Add(patience); len(i.PIDs()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.violated("%s has not ended %v after a drain that should end it", i.Name, patience)
			return i.Kill()
		}
	}
	return i.Start()
}

// awaitOneGeneration waits until an upgrade is over.
func (r *round) awaitOneGeneration(i *tier.Instance) error {
	for deadline := time.Now().Add(patience); len(i.PIDs()) != 1; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.violated("%s has %d processes %v after an upgrade; want the new one", i.Name, len(i.PIDs()), patience)
			return nil
		}
	}
	return nil
}

// elect elects the next master of a label.
func (r *round) elect(l *label) error {
	if l.Key != "" {
		if r.plan.Way == consul.AtOnce {
			return r.consul.PassOn(l.Key, l.address(r.new()))
		}
		if err := r.consul.Unlock(l.Key, r.plan.Way); err != nil {
			return err
		}
		time.Sleep(r.plan.Gap)
		return r.consul.Lock(l.Key, l.address(r.new()))
	}
	switch r.plan.Order {
	case OldFirst:
		if err := r.announce(l, -1); err != nil {
			return err
		}
	case NewFirst:
		if err := r.announce(l, r.newIndex, r.oldIndex); err != nil {
			return err
		}
	default:
		return r.announce(l, r.newIndex)
	}
	time.Sleep(r.plan.Gap)
	return r.announce(l, r.newIndex)
}

// announce writes who are masters of a label, by tags; the others are slaves.
func (w *World) announce(l *label, masters ...int) error {
	tags := map[consul.Candidate][]string{}
	for n, m := range w.masters {
		role := "role=slave"
		if slices.Contains(masters, n) {
			role = "role=master"
		}
		tags[l.candidate(m)] = []string{role}
	}
	return w.consul.Announce(tags)
}

// electTwo leaves the old master's announcement until the fault is healed.
func electTwo(r *round, l *label) error {
	if l.Key != "" {
		return r.elect(l)
	}
	return r.announce(l, r.newIndex, r.oldIndex)
}

func announceOne(r *round) error {
	for _, l := range r.labels {
		if l.Key == "" {
			if err := r.announce(l, r.newIndex); err != nil {
				return err
			}
		}
	}
	return nil
}

// electFlapping elects others on the way, who do not stay. None of them is promoted.
func electFlapping(r *round, l *label) error {
	for _, n := range slices.Concat(r.plan.Flaps, []int{r.newIndex}) { // a slice of its own: the labels are elected side by side
		var err error
		if l.Key == "" {
			err = r.announce(l, n)
		} else if err = r.consul.Unlock(l.Key, r.plan.Way); err == nil {
			err = r.consul.Lock(l.Key, l.address(r.masters[n]))
		}
		if err != nil {
			return err
		}
		time.Sleep(r.plan.Gap / 2)
	}
	return nil
}

// electSame changes what does not count: for a tag another index, for a lock another session.
func electSame(r *round, l *label) error {
	if l.Key != "" {
		return r.consul.PassOn(l.Key, l.address(r.old()))
	}
	for n := range 3 {
		tags := map[consul.Candidate][]string{l.candidate(r.old()): {"role=master", fmt.Sprintf("churn=%d", n)}}
		if err := r.consul.Announce(tags); err != nil {
			return err
		}
		time.Sleep(r.plan.Gap / 4)
	}
	return r.announce(l, r.oldIndex)
}

// electGoneAndBack takes the master away, and elects it once more.
func electGoneAndBack(r *round, l *label) error {
	if l.Key != "" {
		if err := r.consul.Unlock(l.Key, r.plan.Way); err != nil {
			return err
		}
		time.Sleep(r.plan.Gap)
		return r.consul.Lock(l.Key, l.address(r.old()))
	}
	if err := r.announce(l, -1); err != nil {
		return err
	}
	time.Sleep(r.plan.Gap)
	return r.announce(l, r.oldIndex)
}
