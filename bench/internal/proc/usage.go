package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Tree finds p's children and theirs, and tells how many processes there are.
// What is measured later is of them all, so it is to be called when they have
// been started.
func (p *Process) Tree() (int, error) {
	parents, err := parents()
	if err != nil {
		return 0, err
	}
	p.pids = descendants(p.PID(), parents)
	return len(p.pids), nil
}

// descendants are pid and all that come from it.
func descendants(pid int, parentOf map[int]int) []int {
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		for child, parent := range parentOf {
			if parent == found[i] {
				found = append(found, child)
			}
		}
	}
	return found
}

func parents() (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	out := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		if out[pid], err = parentIn(stat); err != nil {
			return nil, fmt.Errorf("read the parent of process %d: %w", pid, err)
		}
	}
	return out, nil
}

// parentIn reads the parent out of /proc/PID/stat, where the program's name
// is in parentheses and may hold any byte (proc_pid_stat(5)).
func parentIn(stat []byte) (int, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("%q is too short", stat)
	}
	return strconv.Atoi(string(fields[1]))
}

// CPU is the time on CPUs, user and system, of p's tree since it began, to the
// nanosecond: the scheduler's own account, by the clock that
// clock_getcpuclockid(3) makes of a process id. It counts threads that have
// ended; /proc/PID/stat has the same, rounded to 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids {
		var t unix.Timespec
		if err := unix.ClockGettime(cpuClock(pid), &t); err != nil {
			return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// cpuClock is MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel's posix-timers_types.h.
func cpuClock(pid int) int32 { return int32(^pid<<3 | 2) }

// Waits is how long each thread of p's tree has been ready to run without a
// CPU to run on, since it began: the second field of /proc/PID/task/TID/schedstat
// (Documentation/scheduler/sched-stats.rst).
func (p *Process) Waits() (map[int]time.Duration, error) {
	waits := map[int]time.Duration{}
	for _, pid := range p.pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return nil, fmt.Errorf("list the threads of a process: %w", err)
		}
		for _, t := range threads {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
			if err != nil {
				continue // it has ended
			}
			id, err := strconv.Atoi(t.Name())
			if err == nil {
				waits[id], err = waitIn(stat)
			}
			if err != nil {
				return nil, fmt.Errorf("read the waits of thread %s: %w", t.Name(), err)
			}
		}
	}
	return waits, nil
}

func waitIn(schedstat []byte) (time.Duration, error) {
	fields := bytes.Fields(schedstat)
	if len(fields) != 3 {
		return 0, fmt.Errorf("%q has not three fields", schedstat)
	}
	n, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return time.Duration(n), err
}

// Memory is the resident memory of p's tree in bytes.
func (p *Process) Memory() (int64, error) {
	var sum int64
	for _, pid := range p.pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("read the memory of a process: %w", err)
		}
		n, err := residentIn(status)
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// residentIn reads VmRSS out of /proc/PID/status.
func residentIn(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("VmRSS:"))
		if !ok {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) != 2 || string(f[1]) != "kB" {
			return 0, fmt.Errorf("VmRSS is %q", rest)
		}
		n, err := strconv.ParseInt(string(f[0]), 10, 64)
		return n << 10, err
	}
	return 0, errors.New("no VmRSS")
}

// Received is how many bytes p's tree has read since it began, from sockets and
// whatever else read(2) and its kin take: rchar of /proc/PID/io (proc_pid_io(5)).
func (p *Process) Received() (int64, error) {
	var sum int64
	for _, pid := range p.pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			return 0, fmt.Errorf("read what a process has received: %w", err)
		}
		n, err := receivedIn(text)
		if err != nil {
			return 0, fmt.Errorf("read what process %d has received: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// receivedIn reads rchar out of /proc/PID/io.
func receivedIn(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("rchar: ")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, errors.New("no rchar")
}

// Descriptors is how many files p's tree has open.
func (p *Process) Descriptors() (int, error) {
	sum := 0
	for _, pid := range p.pids {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("count the descriptors of process %d: it has ended", pid)
		}
		if err != nil {
			return 0, fmt.Errorf("count the descriptors of a process: %w", err)
		}
		sum += len(open)
	}
	return sum, nil
}
