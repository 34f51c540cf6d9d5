package proxy

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func cpus(numbers ...int) unix.CPUSet {
	var set unix.CPUSet
	for _, n := range numbers {
		set.Set(n)
	}
	return set
}

func affinity(t *testing.T) unix.CPUSet {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestEachShardHasACPUOfItsOwn(t *testing.T) {
	allowed := cpus(1, 4, 5, 70)
	for number, want := range []int{1, 4, 5, 70} {
		if got, ok := cpuOf(number, 4, allowed); !ok || got != cpus(want) {
			t.Errorf("shard %d of 4 on the CPUs 1, 4, 5, 70: %v, %v; want CPU %d", number, got, ok, want)
		}
	}
	for _, shards := range []int{3, 5} {
		if _, ok := cpuOf(0, shards, allowed); ok {
			t.Errorf("%d shards on 4 CPUs have homes; want none: two would share one, or one would be idle", shards)
		}
	}
}

// homeOfThisThread is that of the first of as many shards as there are CPUs. It
// keeps the thread for the test.
func homeOfThisThread(t *testing.T) (h home, allowed unix.CPUSet) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	allowed = affinity(t)
	if allowed.Count() < 2 {
		t.Skip("one CPU: no shard has a home")
	}
	return home{number: 0, shards: allowed.Count()}, allowed
}

func (h *home) turns(t *testing.T, n, events int) {
	t.Helper()
	for range n {
		if err := h.note(events); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABusyShardIsAtHomeAndAnIdleOneIsFree(t *testing.T) {
	h, allowed := homeOfThisThread(t)
	first, _ := cpuOf(0, allowed.Count(), allowed)

	h.turns(t, 1000, 1)
	if got := affinity(t); got != allowed {
		t.Fatalf("with an event a turn the shard is bound to %v; want %v", got, allowed)
	}
	h.turns(t, 1000, 10)
	if got := affinity(t); got != first {
		t.Fatalf("with 10 events a turn the shard may run on %v; want %v alone", got, first)
	}
	h.turns(t, 1000, 3)
	if got := affinity(t); got != first {
		t.Fatalf("between the two bounds the shard left its home, for %v; want it to stay", got)
	}
	h.turns(t, 1000, 1)
	if got := affinity(t); got != allowed {
		t.Fatalf("with an event a turn again the shard is still bound to %v; want %v", got, allowed)
	}
	h.turns(t, 1000, 3)
	if got := affinity(t); got != allowed {
		t.Fatalf("between the two bounds the shard went home, to %v; want it to stay free", got)
	}
}

func TestAShardThatEndsLeavesItsThreadAsItWas(t *testing.T) {
	h, allowed := homeOfThisThread(t)
	h.turns(t, 1000, 10)
	if affinity(t) == allowed {
		t.Fatal("the shard is not at home")
	}
	if err := errors.Join(h.leave(), h.leave()); err != nil {
		t.Fatal(err)
	}
	if got := affinity(t); got != allowed {
		t.Errorf("the thread is left bound to %v; want %v", got, allowed)
	}
}

// An operator's taskset on the running process must be obeyed.
func TestAShardHasNoHomeOnceCPUsWereTakenFromTheProcess(t *testing.T) {
	h, allowed := homeOfThisThread(t)
	fewer, _ := cpuOf(1, allowed.Count(), allowed)
	if err := unix.SchedSetaffinity(0, &fewer); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &allowed) }()
	h.turns(t, 1000, 10)
	if got := affinity(t); got != fewer {
		t.Errorf("the shard is bound to %v; want it left on %v", got, fewer)
	}
}

func TestASingleShardHasNoHome(t *testing.T) {
	_, allowed := homeOfThisThread(t)
	h := home{shards: 1}
	h.turns(t, 1000, 10)
	if got := affinity(t); got != allowed {
		t.Errorf("the only shard is bound to %v; want %v", got, allowed)
	}
}

func TestAShardThatIsRefusedItsHomeSaysSoOnceAndIsFree(t *testing.T) {
	h, allowed := homeOfThisThread(t)
	h.turns(t, 1000, 10)
	h.elsewhere = unix.CPUSet{} // no CPU at all, which the kernel takes for an error
	if err := h.leave(); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("got %v; want EINVAL", err)
	}
	defer runtime.UnlockOSThread()
	defer func() { _ = unix.SchedSetaffinity(0, &allowed) }()
	before := affinity(t)
	h.turns(t, 1000, 10)
	if got := affinity(t); got != before {
		t.Errorf("after a refusal the shard moved to %v; want it left on %v", got, before)
	}
}
