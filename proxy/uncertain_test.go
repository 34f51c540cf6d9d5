package proxy

import (
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// While a label's master is in doubt, or its lease has lapsed, nothing goes to
// it and no connection is ended that may go on afterwards.

// lapse ends the lease of the shard's label, and restore gives it back.
func (s *shard) lapse()   { s.labels[0].lease.Store(s.now) }
func (s *shard) restore() { s.labels[0].lease.Store(math.MaxInt64) }

// TestResetInDoubtLosesNothing: what the master had sent before it waits with us.
func TestResetInDoubtLosesNothing(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	c, peers := s.adopt(t, relaying)
	s.lapse()
	if _, err := sock.Send(peers[master], []byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(peers[master], unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	c.onEvent(s.loop, master, sock.ReadyIn|sock.ReadyFIN|sock.ReadyError)
	if got, err := sock.Receive(peers[client], s.scratch); err != sock.ErrAgain {
		t.Fatalf("in doubt the client got %d bytes, %v; want none", got, err)
	}
	s.restore()
	c.relay(s.loop)
	if n, err := sock.Receive(peers[client], s.scratch); err != nil || string(s.scratch[:n]) != "answer" {
		t.Errorf("afterwards the client got %q, %v; want the answer", s.scratch[:n], err)
	}
	c.relay(s.loop) // now that it has been taken
	if got := s.counters[0].active; got != 0 {
		t.Errorf("connections afterwards: got %d; want none", got)
	}
}

func TestIdleTimeoutSendsNoFINInDoubt(t *testing.T) {
	_, s := stopped(t, Config{IdleTimeout: time.Second}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.lateOptions = true
	c.lastActive = s.now
	s.now += 2 * int64(time.Second)
	s.lapse()
	c.onDeadline(s.loop)
	for who, fd := range peers {
		if _, err := sock.Receive(fd, s.scratch); err != sock.ErrAgain {
			t.Errorf("in doubt side %d got %v; want nothing", who, err)
		}
	}
	s.restore()
	c.relay(s.loop)
	s.expire()
	if got := s.counters[0].closed; got[Idle] != 1 {
		t.Errorf("closed by reason: got %v; want one for being idle, afterwards", got)
	}
}

func TestNoConnectIsMadeInDoubt(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(l.Addr().String())}))
	s.lapse()
	c, _ := s.adopt(t, arrived)
	c.dial(s.loop)
	if c.state != held || c.sides[master].fd != sock.NoFD {
		t.Errorf("got state %v, socket %d; want the client held, and no socket", c.state, c.sides[master].fd)
	}
	c.waitingSince -= int64(testTimeout)
	s.now = s.clock.now()
	c.holdTimedOut(s.loop)
	if got := s.counters[0].closed; got[NoMaster] != 1 {
		t.Errorf("closed by reason: got %v; want one for want of a master", got)
	}
}

// TestDialThatIsAnsweredInAPauseIsTakenBack, also before the shard has looked for it.
func TestDialThatIsAnsweredInAPauseIsTakenBack(t *testing.T) {
	p, s := withMaster(t, Config{})
	c, _ := s.adopt(t, arrived)
	c.dial(s.loop)
	eventually(t, "the master's answer", func() bool { return isConnected(int(c.sides[master].fd)) })
	if _, err := p.orderPause(p.labels[0], PauseOrder{By: "test", For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if c.onEvent(s.loop, master, sock.ReadyOut); c.state != held {
		t.Errorf("got state %v; want the client held", c.state)
	}
}

// TestDialThatIsAnsweredInDoubtIsMadeAgain, so that its header goes before
// anything else to whoever is the master then.
func TestDialThatIsAnsweredInDoubtIsMadeAgain(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout, SendProxy: ProxyV1, AcceptProxy: true}, nopLog)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(l.Addr().String())}))
	c, peers := s.adopt(t, header)
	if _, err := sock.Send(peers[client], []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nquestion")); err != nil {
		t.Fatal(err)
	}
	c.onEvent(s.loop, client, sock.ReadyIn)
	answered := func() {
		t.Helper()
		eventually(t, "the master's answer", func() bool { return isConnected(int(c.sides[master].fd)) })
		c.onEvent(s.loop, master, sock.ReadyOut)
	}
	s.lapse()
	answered()
	if c.state != held {
		t.Fatalf("got state %v; want the client held", c.state)
	}
	s.restore()
	s.resume(p.labels[0])
	s.release()
	answered()
	for _, want := range []string{"", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nquestion"} {
		at, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		var got strings.Builder
		for b := make([]byte, 100); got.Len() < len(want); {
			n, err := at.Read(b)
			if got.Write(b[:n]); err != nil {
				t.Fatalf("the master got %q, then %v; want %q", got.String(), err, want)
			}
		}
		if got.String() != want {
			t.Errorf("the master got %q; want %q", got.String(), want)
		}
	}
}
