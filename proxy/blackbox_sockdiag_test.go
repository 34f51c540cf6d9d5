package proxy_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
)

// What sock_diag(7) and linux/inet_diag.h define and package syscall does not.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	diagRequestSize  = 56 // struct inet_diag_req_v2
	diagAnswerSize   = 72 // struct inet_diag_msg

	tcpEstablished = 1
	tcpTimeWait    = 6
	tcpClose       = 7
	tcpListen      = 10

	keepaliveTimer = 2
)

// kernelSocket is what the kernel, not the proxy, says is open.
type kernelSocket struct {
	local, remote netip.AddrPort
	state, timer  byte
	unread        uint32 // bytes in its receive queue
}

// countSockets counts connections, also half-made ones, whose remote side is
// one of to: the proxy's side of connections to a master. Those in except do not count.
func countSockets(t testing.TB, except map[netip.AddrPort]bool, to ...netip.AddrPort) int {
	t.Helper()
	n := 0
	for _, s := range kernelSockets(t) {
		if slices.Contains(to, s.remote) && !except[s.local] {
			n++
		}
	}
	return n
}

// kernelSockets lists the TCP connections of this network namespace, but for
// those that only wait for their time to pass.
func kernelSockets(t testing.TB) []kernelSocket {
	t.Helper()
	var all []kernelSocket
	for _, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
		some, err := diagnose(family)
		if err != nil {
			t.Fatalf("list the kernel's sockets: %v", err)
		}
		all = append(all, some...)
	}
	return all
}

func diagnose(family byte) ([]kernelSocket, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	const all = 1<<tcpTimeWait | 1<<tcpClose | 1<<tcpListen
	ask := binary.NativeEndian.AppendUint32(nil, syscall.NLMSG_HDRLEN+diagRequestSize)
	ask = binary.NativeEndian.AppendUint16(ask, sockDiagByFamily)
	ask = binary.NativeEndian.AppendUint16(ask, syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	ask = append(ask, make([]byte, 8)...) // sequence, process
	ask = append(ask, family, syscall.IPPROTO_TCP, 0, 0)
	ask = binary.NativeEndian.AppendUint32(ask, ^uint32(all))
	ask = append(ask, make([]byte, syscall.NLMSG_HDRLEN+diagRequestSize-len(ask))...)
	if err := syscall.Sendto(fd, ask, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var sockets []kernelSocket
	for buf := make([]byte, 1<<16); ; {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == syscall.NLMSG_DONE:
				return sockets, nil
			case m.Header.Type != sockDiagByFamily || len(m.Data) < diagAnswerSize:
				return nil, fmt.Errorf("unexpected message of type %d, %d bytes", m.Header.Type, len(m.Data))
			}
			sockets = append(sockets, parseDiagnosis(m.Data))
		}
	}
}

// parseDiagnosis reads the head of a struct inet_diag_msg.
func parseDiagnosis(b []byte) kernelSocket {
	family, size := b[0], 4
	if family == syscall.AF_INET6 {
		size = 16
	}
	at := func(port, addr int) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(b[addr : addr+size]) // of a size that is an address
		return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(b[port:]))
	}
	return kernelSocket{state: b[1], timer: b[2], local: at(4, 8), remote: at(6, 24), unread: binary.NativeEndian.Uint32(b[56:])}
}

// TestKernelSocketsSeesAConnection keeps the checks of the fence honest: they can fail.
func TestKernelSocketsSeesAConnection(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, echo)
	client, err := dialTCP(m.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if n := countSockets(t, nil, m.addr); n != 1 {
		t.Errorf("connections to %v: got %d; want 1", m.addr, n)
	}
	reset(t, client)
	if n := countSockets(t, nil, m.addr); n != 0 {
		t.Errorf("connections to %v after a reset: got %d; want 0", m.addr, n)
	}
	_, callers := newHungMaster(t)
	if n := callers(); n != 0 {
		t.Errorf("callers of a master that hangs: got %d; want 0", n)
	}
}
