package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// KernelTCP is what the kernel reckons to the buffers of all TCP sockets of this
// machine, in bytes: mem of /proc/net/sockstat, in pages (proc_net(5)).
func KernelTCP() (int64, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, fmt.Errorf("read the kernel's memory for TCP: %w", err)
	}
	pages, err := tcpPagesIn(text)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's memory for TCP: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// tcpPagesIn reads mem out of the line TCP of /proc/net/sockstat.
func tcpPagesIn(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if string(fields[i]) == "mem" {
				return strconv.ParseInt(string(fields[i+1]), 10, 64)
			}
		}
	}
	return 0, errors.New("no mem of TCP")
}
