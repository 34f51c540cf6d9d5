package sock

import (
	"cmp"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel knows of a socket's peer.

// Unacknowledged is how many bytes in the send queue of fd the peer has not
// acknowledged, those not sent yet included (SIOCOUTQ, tcp(7)). FIN counts as one.
func Unacknowledged(fd int) int { return queueLength(fd, unix.SIOCOUTQ) }

// Unsent is how many of them have not been sent, since the peer has no room for
// them or the network is slow (SIOCOUTQNSD).
func Unsent(fd int) int { return queueLength(fd, unix.SIOCOUTQNSD) }

// Unread is how many bytes wait in the receive queue of fd (SIOCINQ, tcp(7)).
func Unread(fd int) int { return queueLength(fd, unix.SIOCINQ) }

func queueLength(fd int, request uintptr) int {
	var n int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Peer is what TCP_INFO says of the peer of a connection.
type Peer struct {
	LastACK    time.Duration // since it acknowledged anything, a probe included
	Unanswered int           // retransmissions, or probes of a closed window, since then
	Backoff    uint8         // grows with each of them, answered or not
	Window     Window
}

// Window is what a peer that is owed bytes takes of them at the moment.
type Window uint8

// The windows.
const (
	WindowOpen   Window = iota // some are on their way
	WindowClosed               // none is on its way: there is no room for them
	WindowShrunk               // some are on their way, but the peer has taken the room for them back
)

// PeerOf looks at the peer of fd, to which bytes wait to go.
func PeerOf(fd int) (Peer, error) {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return Peer{}, errno
	}
	p := Peer{
		LastACK:    time.Duration(info.Last_ack_recv) * time.Millisecond,
		Unanswered: int(max(info.Retransmits, info.Probes)),
		Backoff:    info.Backoff,
	}
	switch {
	case info.Unacked == 0:
		p.Window = WindowClosed
	case info.Snd_wnd == 0 && size > uint32(unsafe.Offsetof(info.Snd_wnd)): // since Linux 5.4
		p.Window = WindowShrunk
	}
	return p, nil
}

// tcpRTOMaxMS is TCP_RTO_MAX_MS (linux/tcp.h), since Linux 6.15.
const tcpRTOMaxMS = 44

// The values that TCP_RTO_MAX_MS takes (do_tcp_setsockopt in net/ipv4/tcp.c).
const (
	shortestRTOMax = time.Second
	longestRTOMax  = 120 * time.Second
)

// LimitProbeInterval has the kernel probe a closed window no less often than
// every d or so; 0: as it likes. It likes to wait for up to two minutes when a
// peer has not read for a while, and its death is found that late; before Linux
// 6.15 it is so in any case.
//
// It must not stay so when the window shrinks: from then on the kernel takes a
// peer for dead that has answered nothing for twice that time, which is two
// probes (tcp_rtx_probe0_timed_out in net/ipv4/tcp_timer.c).
func LimitProbeInterval(fd int, d time.Duration) {
	d = cmp.Or(d, longestRTOMax)
	_ = setOption(fd, unix.IPPROTO_TCP, tcpRTOMaxMS, int(min(max(d, shortestRTOMax), longestRTOMax).Milliseconds()))
}
