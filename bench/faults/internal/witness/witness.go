// Package witness watches what a host sends, packet by packet, with the
// kernel's own time for each. It is no part of what it watches, and sees the
// bytes that nobody has read, those to a machine that hangs as well.
package witness

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// Packet is one that has left the host, and is more than an acknowledgement.
type Packet struct {
	At      time.Time
	To      netip.AddrPort
	From    uint16 // port
	Payload int    // bytes; of a SYN: 0
}

func (p Packet) String() string {
	what := fmt.Sprintf("%d bytes", p.Payload)
	if p.Payload == 0 {
		what = "a SYN"
	}
	return fmt.Sprintf("%s from port %d to %v at %s", what, p.From, p.To, p.At.UTC().Format("15:04:05.000000"))
}

// Witness is one that watches.
type Witness struct {
	fd   int
	done chan struct{}
	stop atomic.Bool

	mu      sync.Mutex
	packets []Packet
}

// snap is how much of a packet is looked at: Ethernet, IP and TCP headers.
const snap = 14 + 60 + 60

// room is how much may wait to be looked at.
const room = 64 << 20

// Watch begins to watch what goes out through a device of the host, to
// ports from first to last.
func Watch(h *lan.Host, device string, first, last uint16) (*Witness, error) {
	w := &Witness{done: make(chan struct{})}
	err := h.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		return w.open(dev.Index)
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s of %s: %w", device, h.Name, err)
	}
	go w.run(first, last)
	return w, nil
}

func (w *Witness) open(device int) error {
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)) // ETH_P_IP sees nothing that goes out
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.fd = fd
	short := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: snap}}
	for _, set := range []error{
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &short[0]}),
		makeRoom(fd),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device}),
	} {
		if set != nil {
			unix.Close(fd)
			return set
		}
	}
	return nil
}

// makeRoom asks for more than the machine allows everybody, which root of the machine may
// have; who is root in the box alone gets what is allowed.
func makeRoom(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
}

func (w *Witness) run(first, last uint16) {
	defer close(w.done)
	defer unix.Close(w.fd)
	packet, oob := make([]byte, snap), make([]byte, 256)
	for !w.stop.Load() {
		n, oobn, _, from, err := unix.Recvmsg(w.fd, packet, oob, 0)
		if err != nil {
			continue // its time is up, or a signal
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		p, ok := parse(packet[:n])
		if !ok || p.To.Port() < first || p.To.Port() > last {
			continue
		}
		if p.At, ok = stamp(oob[:oobn]); !ok {
			continue
		}
		w.mu.Lock()
		w.packets = append(w.packets, p)
		w.mu.Unlock()
	}
}

// parse reads the headers of a packet of TCP over IPv4, and reports whether it
// is more than an acknowledgement.
func parse(b []byte) (Packet, bool) {
	const ethernet, tcp, syn, ack = 14, 6, 0x02, 0x10
	if len(b) < ethernet+20 || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_IP {
		return Packet{}, false
	}
	ip := b[ethernet:]
	header := int(ip[0]&0xf) * 4
	if ip[9] != tcp || len(ip) < header+20 {
		return Packet{}, false
	}
	segment := ip[header:]
	p := Packet{
		To:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(segment[2:])),
		From:    binary.BigEndian.Uint16(segment),
		Payload: int(binary.BigEndian.Uint16(ip[2:])) - header - int(segment[12]>>4)*4,
	}
	return p, p.Payload > 0 || segment[13]&(syn|ack) == syn
}

// stamp is when the kernel sent the packet.
func stamp(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), true
		}
	}
	return time.Time{}, false
}

// Sent are the packets to an address that have left after a moment.
func (w *Witness) Sent(to netip.AddrPort, after time.Time) []Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []Packet
	for _, p := range w.packets {
		if p.To == to && p.At.After(after) {
			some = append(some, p)
		}
	}
	return some
}

// Forget drops what has been seen, and tells how many packets there were.
func (w *Witness) Forget() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.packets)
	w.packets = w.packets[:0]
	return n
}

// Lost is how many packets could not be looked at since the last call. A
// witness that has lost some proves nothing.
func (w *Witness) Lost() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("ask the witness what it has lost: %w", err)
	}
	return int(stats.Drops), nil
}

// Close ends the watch.
func (w *Witness) Close() {
	w.stop.Store(true)
	<-w.done
}
