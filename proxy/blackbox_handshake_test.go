package proxy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// TestStopAcceptingWaitsForHandshakesThatAreUnderWay: a far client has had the answer to
// its SYN, and its ACK, which completes the connection for the proxy, is on its way.
func TestStopAcceptingWaitsForHandshakesThatAreUnderWay(t *testing.T) {
	noLeaks(t)
	newChildWithItsOwnNetwork(t, "handshake").want("served", "run")
}

// newHandshakeRole answers what becomes of such a client.
func newHandshakeRole() func(string, []string) string { return answering(clientDuringStop) }

func clientDuringStop() (how string, err error) {
	if err := setUpLoopback(); err != nil {
		return "", err
	}
	c := config()
	c.Listeners[0].Address = "127.0.0.1:7800"
	p, err := proxy.New(c, zerolog.Nop())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go p.Serve(ctx)
	if err := p.Heartbeat(ctx); err != nil { // a proxy that does not serve waits for nobody
		return "", err
	}
	// The ACK comes soon after the call of StopAccepting, and a far client's would have
	// had more time. Where it comes later than this, the machine was at fault.
	const soon, late = 20 * time.Millisecond, 100 * time.Millisecond
	for port := uint16(5555); port < 5575; port++ {
		client, err := newFarClient(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), port), netip.MustParseAddrPort("127.0.0.1:7800"))
		if err != nil {
			return "", err
		}
		defer client.close()
		if err := client.beginHandshake(); err != nil {
			return "", err
		}
		before := p.Snapshot().Labels[0].Accepted
		paused := make(chan struct{})
		begin := time.Now()
		go func() { p.StopAccepting(); close(paused) }()
		time.Sleep(soon)
		if err := client.finishHandshake(); err != nil {
			return "", err
		}
		took := time.Since(begin)
		<-paused
		switch {
		case p.Snapshot().Labels[0].Accepted > before:
			return "served", nil
		case took < late:
			return fmt.Sprintf("not accepted: ACK after %v, StopAccepting returned after %v", took, time.Since(begin)), nil
		}
		if err := p.AcceptAgain(); err != nil {
			return "", err
		}
	}
	return "", errors.New("no handshake was in time")
}

// farClient makes the segments of a handshake by hand. The kernel, which knows
// nothing of its connection, is kept from resetting it by a listener that hears nothing.
type farClient struct {
	raw, deaf  int
	local, to  netip.AddrPort
	theirFirst uint32
}

const ourFirst = 1000 // sequence number

func newFarClient(local, to netip.AddrPort) (*farClient, error) {
	c := &farClient{raw: -1, deaf: -1, local: local, to: to}
	err := c.open()
	if err != nil {
		c.close()
	}
	return c, err
}

func (c *farClient) open() (err error) {
	at := &unix.SockaddrInet4{Addr: c.local.Addr().As4(), Port: int(c.local.Port())}
	if c.deaf, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	filter := unix.SockFprog{Len: 1, Filter: &nothing[0]}
	if err := errors.Join(
		unix.SetsockoptSockFprog(c.deaf, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter),
		unix.Bind(c.deaf, at),
		unix.Listen(c.deaf, 1),
	); err != nil {
		return err
	}
	if c.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(testTimeout))
	return errors.Join(
		unix.SetsockoptTimeval(c.raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(c.raw, &unix.SockaddrInet4{Addr: at.Addr}),
	)
}

func (c *farClient) close() {
	unix.Close(c.raw)
	unix.Close(c.deaf)
}

const flagSYN, flagACK = 0x02, 0x10

func (c *farClient) beginHandshake() error {
	if err := c.send(flagSYN, ourFirst, 0); err != nil {
		return err
	}
	for b := make([]byte, 1500); ; {
		n, err := unix.Read(c.raw, b)
		if err != nil {
			return fmt.Errorf("read the answer to a SYN: %w", err)
		}
		tcp := b[int(b[0]&0xf)*4 : n] // behind the IP header
		if binary.BigEndian.Uint16(tcp[2:]) == c.local.Port() && tcp[13] == flagSYN|flagACK {
			c.theirFirst = binary.BigEndian.Uint32(tcp[4:])
			return nil
		}
	}
}

func (c *farClient) finishHandshake() error { return c.send(flagACK, ourFirst+1, c.theirFirst+1) }

// send makes a segment without payload (RFC 9293, 3.1).
func (c *farClient) send(flags byte, seq, ack uint32) error {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, c.local.Port())
	b = binary.BigEndian.AppendUint16(b, c.to.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags) // five words of header
	b = binary.BigEndian.AppendUint16(b, 65535)
	b = append(b, 0, 0, 0, 0) // checksum and urgent pointer
	binary.BigEndian.PutUint16(b[16:], c.checksum(b))
	return unix.Sendto(c.raw, b, 0, &unix.SockaddrInet4{Addr: c.to.Addr().As4()})
}

func (c *farClient) checksum(segment []byte) uint16 {
	from, to := c.local.Addr().As4(), c.to.Addr().As4()
	var b []byte
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	b = append(b, 0, unix.IPPROTO_TCP)
	b = binary.BigEndian.AppendUint16(b, uint16(len(segment)))
	b = append(b, segment...)
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
