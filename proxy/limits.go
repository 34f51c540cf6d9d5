package proxy

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors that are not a client's or a master's: the admin server's,
// Consul's, the logs', the shards' own. Where descriptors are scarce, a quarter.
const reservedDescriptors = 256

// mostPipes bounds what streams with slow readers can pin in the kernel: a
// pipeSize each.
const mostPipes = 512

// capacity is how many connections and pipes the process has room for.
type capacity struct {
	conns int
	pipes int
}

// capacityFor shares out the descriptors: two a connection, two a pipe, and
// a twentieth of them for pipes, since a stream holds one only while its
// destination does not keep up. maxConns of 0 takes what there is.
func capacityFor(maxConns, descriptors, pipePages int) capacity {
	pipes := min(max(descriptors/20, 2), mostPipes)
	if pipePages > 0 {
		// Half of what the user may have, for the other processes of that user.
		pipes = min(pipes, pipePages/(pipeSize/os.Getpagesize())/2)
	}
	if maxConns == 0 {
		maxConns = max((descriptors-min(reservedDescriptors, descriptors/4))/2-pipes, 1)
	}
	return capacity{conns: maxConns, pipes: pipes}
}

// descriptorLimit is RLIMIT_NOFILE.
func descriptorLimit() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return int(min(l.Cur, math.MaxInt32)), nil
}

// pipePagesLimit is how many pages of pipes a user without privileges may
// hold before the kernel shrinks new ones; 0 where there is no such limit
// (CAP_SYS_RESOURCE or CAP_SYS_ADMIN, or the limit is off: pipe(7)).
func pipePagesLimit() int {
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

// ephemeralPorts is the range that outgoing connections take their port from.
func ephemeralPorts() (first, last uint16) {
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
