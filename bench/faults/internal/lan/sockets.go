package lan

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// Socket is one TCP socket of a host, also one that no process has any more.
type Socket struct {
	Local, Remote netip.AddrPort
	State         string
	Queued        uint64 // bytes that wait to be sent or acknowledged
	Orphan        bool   // its process has closed it
}

func (s Socket) String() string {
	return fmt.Sprintf("%v -> %v %s, %d bytes queued, orphan %t", s.Local, s.Remote, s.State, s.Queued, s.Orphan)
}

// The states of a socket, by their number in /proc/net/tcp.
var states = []string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}

// CanCarry reports whether a byte may still go out through the socket.
func (s Socket) CanCarry() bool {
	switch s.State {
	case "TIME_WAIT", "CLOSE", "LISTEN":
		return false
	case "FIN_WAIT2": // all has been sent and acknowledged, the FIN as well
		return !s.Orphan
	default:
		return true
	}
}

// Sockets are the host's TCP sockets whose other end is one of those given.
func (h *Host) Sockets(to netip.AddrPort) ([]Socket, error) {
	var found []Socket
	err := h.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			lines := bufio.NewScanner(bytes.NewReader(text))
			lines.Scan() // the header
			for lines.Scan() {
				s, err := parseSocket(lines.Text())
				if err != nil {
					return fmt.Errorf("read the sockets of %s: %w", h.Name, err)
				}
				if s.Remote == to {
					found = append(found, s)
				}
			}
		}
		return nil
	})
	return found, err
}

// parseSocket reads a line of /proc/net/tcp or tcp6 (proc_pid_net(5)).
func parseSocket(line string) (Socket, error) {
	f := bytes.Fields([]byte(line))
	if len(f) < 10 {
		return Socket{}, fmt.Errorf("%q is too short", line)
	}
	local, err := parseAddress(string(f[1]))
	if err != nil {
		return Socket{}, err
	}
	remote, err := parseAddress(string(f[2]))
	if err != nil {
		return Socket{}, err
	}
	state, err := strconv.ParseUint(string(f[3]), 16, 8)
	if err != nil || state >= uint64(len(states)) {
		return Socket{}, fmt.Errorf("%q has no state that is known", line)
	}
	out, _, _ := bytes.Cut(f[4], []byte(":"))
	queued, err := strconv.ParseUint(string(out), 16, 64)
	return Socket{Local: local, Remote: remote, State: states[state], Queued: queued, Orphan: string(f[9]) == "0"}, err
}

// parseAddress reads an address of the table: numbers of 32 bits in the machine's
// order of bytes, in hexadecimal.
func parseAddress(text string) (netip.AddrPort, error) {
	ip, port, _ := bytes.Cut([]byte(text), []byte(":"))
	raw := make([]byte, len(ip)/2)
	if _, err := hex.Decode(raw, ip); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address: %w", text, err)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(string(port), 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
