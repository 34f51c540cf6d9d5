package sock

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DescriptorLimit is RLIMIT_NOFILE.
func DescriptorLimit() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return int(min(l.Cur, math.MaxInt32)), nil
}

// PipePagesLimit is how many pages of pipes a user without privileges may
// hold before the kernel shrinks new ones; 0 where there is no such limit
// (CAP_SYS_RESOURCE or CAP_SYS_ADMIN, or the limit is off: pipe(7)).
func PipePagesLimit() int {
	if mayExceedPipeLimit() {
		return 0
	}
	pages, err := readProcInts("/proc/sys/fs/pipe-user-pages-soft", 1)
	if err != nil {
		return 16384 // the kernel's default
	}
	return pages[0]
}

func mayExceedPipeLimit() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE|1<<unix.CAP_SYS_ADMIN) != 0
}

// EphemeralPorts is the range that outgoing connections take their port from.
func EphemeralPorts() (first, last uint16) {
	r, err := readProcInts("/proc/sys/net/ipv4/ip_local_port_range", 2)
	if err != nil {
		return 1024, 65535
	}
	return uint16(r[0]), uint16(r[1])
}

func readProcInts(path string, n int) ([]int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b))
	if len(fields) != n {
		return nil, fmt.Errorf("read %s: got %d fields; want %d", path, len(fields), n)
	}
	out := make([]int, n)
	for i, f := range fields {
		if out[i], err = strconv.Atoi(f); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return out, nil
}

// BootTime is CLOCK_BOOTTIME in nanoseconds: it goes on while the process is
// stopped and while the machine is suspended (clock_gettime(2)).
func BootTime() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // it has no error: Linux has that clock since 2.6.39
	return t.Nano()
}
