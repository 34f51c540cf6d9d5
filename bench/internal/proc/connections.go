package proc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Connections is how many TCP connections p's tree has to an IPv4 address, in
// whatever state.
func (p *Process) Connections(to netip.AddrPort) (int, error) {
	sum := 0
	for _, pid := range p.pids {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid)) // of its whole network namespace
		if err != nil {
			return 0, fmt.Errorf("list the connections of a process: %w", err)
		}
		others, err := socketsTo(table, to)
		if err != nil {
			return 0, fmt.Errorf("list the connections of process %d: %w", pid, err)
		}
		own, err := sockets(pid)
		if err != nil {
			return 0, err
		}
		for inode := range others {
			if own[inode] {
				sum++
			}
		}
	}
	return sum, nil
}

// sockets are the inodes of a process's sockets.
func sockets(pid int) (map[string]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the descriptors of process %d: %w", pid, err)
	}
	inodes := map[string]bool{}
	for _, d := range open {
		to, err := os.Readlink(dir + "/" + d.Name())
		if err != nil {
			continue // it was closed
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes, nil
}

// socketsTo are the inodes of the sockets in a table like /proc/net/tcp
// (proc_pid_net(5)) whose other side is to. The kernel writes it piece by
// piece, and while connections come and go the same one can be in two of them.
func socketsTo(table []byte, to netip.AddrPort) (map[string]bool, error) {
	remote := inTable(to)
	inodes := map[string]bool{}
	_, rows, _ := bytes.Cut(table, []byte("\n"))
	for row := range bytes.Lines(rows) {
		f := bytes.Fields(row)
		if len(f) < 10 {
			return nil, fmt.Errorf("%q is too short", row)
		}
		if string(f[2]) == remote {
			inodes[string(f[9])] = true
		}
	}
	return inodes, nil
}

// inTable is an address as the table has it: a number in the machine's order of
// bytes, in hexadecimal.
func inTable(a netip.AddrPort) string {
	ip := a.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}
