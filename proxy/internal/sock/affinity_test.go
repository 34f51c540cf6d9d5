package sock

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

func TestEachLoopHasACPUOfItsOwn(t *testing.T) {
	allowed := cpus(1, 4, 5, 70)
	for number, want := range []int{1, 4, 5, 70} {
		if got, ok := cpuOf(number, 4, allowed); !ok || got != cpus(want) {
			t.Errorf("loop %d of 4 on the CPUs 1, 4, 5, 70: %v, %v; want CPU %d", number, got, ok, want)
		}
	}
	for _, loops := range []int{3, 5} {
		if _, ok := cpuOf(0, loops, allowed); ok {
			t.Errorf("%d loops on 4 CPUs are pinned; want none: two would share one, or one would be idle", loops)
		}
	}
}

// affinityOfThisThread is that of the first of as many loops as there are CPUs. It
// keeps the thread for the test.
func affinityOfThisThread(t *testing.T) (a Affinity, allowed unix.CPUSet) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	allowed = affinity(t)
	if allowed.Count() < 2 {
		t.Skip("one CPU: no loop is pinned")
	}
	return Affinity{Number: 0, Loops: allowed.Count()}, allowed
}

func (a *Affinity) iterations(t *testing.T, n, events int) {
	t.Helper()
	for range n {
		if err := a.Note(events); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABusyLoopIsPinnedAndAnIdleOneIsNot(t *testing.T) {
	a, allowed := affinityOfThisThread(t)
	first, _ := cpuOf(0, allowed.Count(), allowed)

	a.iterations(t, 1000, 1)
	if got := affinity(t); got != allowed {
		t.Fatalf("with an event an iteration the loop is bound to %v; want %v", got, allowed)
	}
	a.iterations(t, 1000, 10)
	if got := affinity(t); got != first {
		t.Fatalf("with 10 events an iteration the loop may run on %v; want %v alone", got, first)
	}
	a.iterations(t, 1000, 3)
	if got := affinity(t); got != first {
		t.Fatalf("between the two bounds the loop left its CPU, for %v; want it to stay", got)
	}
	a.iterations(t, 1000, 1)
	if got := affinity(t); got != allowed {
		t.Fatalf("with an event an iteration again the loop is still bound to %v; want %v", got, allowed)
	}
	a.iterations(t, 1000, 3)
	if got := affinity(t); got != allowed {
		t.Fatalf("between the two bounds the loop was pinned to %v; want it to stay free", got)
	}
}

func TestUnpinLeavesTheThreadAsItWas(t *testing.T) {
	a, allowed := affinityOfThisThread(t)
	a.iterations(t, 1000, 10)
	if affinity(t) == allowed {
		t.Fatal("the loop is not pinned")
	}
	if err := errors.Join(a.Unpin(), a.Unpin()); err != nil {
		t.Fatal(err)
	}
	if got := affinity(t); got != allowed {
		t.Errorf("the thread is left bound to %v; want %v", got, allowed)
	}
}

// An operator's taskset on the running process must be obeyed.
func TestNoLoopIsPinnedOnceCPUsWereTakenFromTheProcess(t *testing.T) {
	a, allowed := affinityOfThisThread(t)
	fewer, _ := cpuOf(1, allowed.Count(), allowed)
	if err := unix.SchedSetaffinity(0, &fewer); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &allowed) }()
	a.iterations(t, 1000, 10)
	if got := affinity(t); got != fewer {
		t.Errorf("the loop is bound to %v; want it left on %v", got, fewer)
	}
}

func TestASingleLoopIsNotPinned(t *testing.T) {
	_, allowed := affinityOfThisThread(t)
	a := Affinity{Loops: 1}
	a.iterations(t, 1000, 10)
	if got := affinity(t); got != allowed {
		t.Errorf("the only loop is bound to %v; want %v", got, allowed)
	}
}

func TestALoopThatIsRefusedAPinSaysSoOnceAndRunsFree(t *testing.T) {
	a, allowed := affinityOfThisThread(t)
	a.iterations(t, 1000, 10)
	a.before = unix.CPUSet{} // no CPU at all, which the kernel takes for an error
	if err := a.Unpin(); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("got %v; want EINVAL", err)
	}
	defer runtime.UnlockOSThread()
	defer func() { _ = unix.SchedSetaffinity(0, &allowed) }()
	before := affinity(t)
	a.iterations(t, 1000, 10)
	if got := affinity(t); got != before {
		t.Errorf("after a refusal the loop moved to %v; want it left on %v", got, before)
	}
}
