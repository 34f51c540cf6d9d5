package sock

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A busy event loop keeps to a CPU of its own, where there are as many loops as
// CPUs.
//
// Go preempts a goroutine that has run for 10 ms, and it goes on on whichever
// thread is free, on the CPU where that one ran last. Two loops then share a
// CPU, until the kernel sees it at a tick. p99 of 64 ping-pongs on two CPUs
// jumped between 1.4 and 4.4 ms from run to run; pinned it is 1.5 ms.
//
// A loop that has little to do is better off where its peers run: a message
// that stays on a CPU wakes no other. A single ping-pong costs 26 us with the
// freedom to move, and 36 us without.
const (
	// Events an iteration, on average: above the one a loop is pinned, below
	// the other it is unpinned.
	pinAbove   = 4
	unpinBelow = 2
	// averageOver iterations the average goes back, about.
	averageOver = 64
)

// Affinity binds one event loop to a CPU while it is busy. It belongs to the
// loop's goroutine.
type Affinity struct {
	Number, Loops int // which loop of how many

	before unix.CPUSet // where the thread might run before it was pinned
	pinned bool
	events float64 // an iteration, on average
}

// Note takes in how many events an iteration had. Its error says that the
// kernel refuses to pin; the loop is never pinned from then on.
func (a *Affinity) Note(events int) error {
	a.events += (float64(events) - a.events) / averageOver
	switch {
	case !a.pinned && a.events > pinAbove:
		return a.pin()
	case a.pinned && a.events < unpinBelow:
		return a.Unpin()
	}
	return nil
}

// pin binds the loop's goroutine to its thread, and that to the CPU. It asks
// each time which CPUs there are: an operator may have given the process others.
func (a *Affinity) pin() error {
	if a.Loops < 2 {
		return nil
	}
	runtime.LockOSThread()
	err := os.NewSyscallError("sched_getaffinity", unix.SchedGetaffinity(0, &a.before))
	cpu, ok := cpuOf(a.Number, a.Loops, a.before)
	if err == nil && ok {
		err = os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &cpu))
	}
	if err != nil || !ok {
		runtime.UnlockOSThread()
		*a = Affinity{}
		return err
	}
	a.pinned = true
	return nil
}

// Unpin lets the thread run where it might before. Without a pin it does nothing.
func (a *Affinity) Unpin() error {
	if !a.pinned {
		return nil
	}
	if err := unix.SchedSetaffinity(0, &a.before); err != nil {
		*a = Affinity{} // the thread stays the loop's and ends with it: bound as it is, no other may have it
		return os.NewSyscallError("sched_setaffinity", err)
	}
	runtime.UnlockOSThread()
	a.pinned = false
	return nil
}

// cpuOf picks one of as many CPUs as there are loops.
func cpuOf(number, loops int, allowed unix.CPUSet) (cpu unix.CPUSet, ok bool) {
	if allowed.Count() != loops {
		return cpu, false
	}
	for n := 0; ; n++ {
		if !allowed.IsSet(n) {
			continue
		}
		if number == 0 {
			cpu.Set(n)
			return cpu, true
		}
		number--
	}
}
