package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// openSockets counts the connections that the process has to the address, by
// the kernel's own table: a witness that rosproxy's word is not needed for.
func openSockets(pid int, address string) (int, error) {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, fmt.Errorf("count sockets to %s: %w", address, err)
	}
	own, err := socketInodes(pid)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			if os.IsNotExist(err) {
				continue // no IPv6 here
			}
			return 0, fmt.Errorf("count sockets: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// sl local remote state queues timer retransmits uid timeout inode ...
			w := strings.Fields(lines.Text())
			if len(w) < 10 || !own[w[9]] {
				continue
			}
			if remote, ok := parseSocket(w[2]); ok && remote == want {
				count++
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return 0, fmt.Errorf("count sockets: %w", err)
		}
	}
	return count, nil
}

// socketInodes are the sockets that the process has open.
func socketInodes(pid int) (map[string]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue // closed since
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes, nil
}

// parseSocket reads "0100007F:1F90", the address as words in the order of the machine.
func parseSocket(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), ok
}
