package proxy

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A shard that has much to do keeps to a CPU of its own, where there are as
// many shards as CPUs.
//
// Go preempts a goroutine that has run for 10 ms, and it goes on on whichever
// thread is free, on the CPU where that one ran last. Two shards then share a
// CPU, until the kernel sees it at a tick. p99 of 64 ping-pongs on two CPUs
// jumped between 1.4 and 4.4 ms from run to run; with a home it is 1.5 ms.
//
// One that has little to do is better off where its peers run: a message that
// stays on a CPU wakes no other. A single ping-pong costs 26 us with the
// freedom to move, and 36 us without.
const (
	// Events a turn, on average: above the one a shard goes home, below the
	// other it leaves.
	manyEvents = 4
	fewEvents  = 2
	// homeMemory turns the average goes back, about.
	homeMemory = 64
)

// home is a shard's CPU. Its zero value is none: the shard is always free.
type home struct {
	number, shards int
	elsewhere      unix.CPUSet // where the shard may run when it is not there
	isThere        bool
	events         float64 // a turn, on average
}

// note takes in how many events a turn had. Its error says that the kernel
// refuses what a home takes; there is none from then on.
func (h *home) note(events int) error {
	h.events += (float64(events) - h.events) / homeMemory
	switch {
	case !h.isThere && h.events > manyEvents:
		return h.enter()
	case h.isThere && h.events < fewEvents:
		return h.leave()
	}
	return nil
}

// enter binds the shard's goroutine to its thread, and that to the CPU. It asks
// each time which CPUs there are: an operator may have given the process others.
func (h *home) enter() error {
	if h.shards < 2 {
		return nil
	}
	runtime.LockOSThread()
	err := os.NewSyscallError("sched_getaffinity", unix.SchedGetaffinity(0, &h.elsewhere))
	cpu, ok := cpuOf(h.number, h.shards, h.elsewhere)
	if err == nil && ok {
		err = os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &cpu))
	}
	if err != nil || !ok {
		runtime.UnlockOSThread()
		*h = home{}
		return err
	}
	h.isThere = true
	return nil
}

// leave is harmless when the shard is not there.
func (h *home) leave() error {
	if !h.isThere {
		return nil
	}
	if err := unix.SchedSetaffinity(0, &h.elsewhere); err != nil {
		*h = home{} // the thread stays the shard's and ends with it: no other may have it, bound as it is
		return os.NewSyscallError("sched_setaffinity", err)
	}
	runtime.UnlockOSThread()
	h.isThere = false
	return nil
}

// cpuOf picks one of as many CPUs as there are shards.
func cpuOf(number, shards int, allowed unix.CPUSet) (cpu unix.CPUSet, ok bool) {
	if allowed.Count() != shards {
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
