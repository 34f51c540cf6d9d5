package proxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// TestResetThatAWriteHasFoundIsNoEnd: the write takes the error off the socket,
// before epoll has told of it, and the next read says 0, as at the end of a stream.
func TestResetThatAWriteHasFoundIsNoEnd(t *testing.T) {
	for _, source := range []int{client, master} {
		s := newPairs(t, Config{Shards: 1})
		ends := [2]*net.TCPConn{}
		ends[client], ends[master] = s.next(t)
		onShard(s.p, 0, func(sh *shard) {
			var c *conn
			sh.conns.all(func(only *conn) { c = only })
			for from, text := range map[int]string{source: "the rest", 1 - source: "more"} {
				if _, err := ends[from].Write([]byte(text)); err != nil {
					t.Error(err)
				}
				eventually(t, "the bytes to have arrived", func() bool { return sock.Unread(int(c.sides[from].fd)) == len(text) })
			}
			if err := errors.Join(ends[source].SetLinger(0), ends[source].Close()); err != nil {
				t.Error(err)
			}
			c.sides[1-source].readable = true // as epoll is about to say
			c.relay(sh.loop)
		})
		_ = ends[1-source].SetReadDeadline(time.Now().Add(testTimeout))
		if data, err := io.ReadAll(ends[1-source]); string(data) != "the rest" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reset by side %d: the other got %q, %v; want %q, then a reset", source, data, err, "the rest")
		}
	}
}

// TestLastBytesOfADeadPeerAreDelivered: they had arrived when it was found dead.
func TestLastBytesOfADeadPeerAreDelivered(t *testing.T) {
	for _, dead := range []int{client, master} {
		s := newPairs(t, Config{Shards: 1})
		ends := [2]*net.TCPConn{}
		ends[client], ends[master] = s.next(t)
		onShard(s.p, 0, func(sh *shard) {
			var c *conn
			sh.conns.all(func(only *conn) { c = only })
			if _, err := ends[dead].Write([]byte("the rest")); err != nil {
				t.Error(err)
			}
			eventually(t, "the bytes to have arrived", func() bool { return sock.Unread(int(c.sides[dead].fd)) == len("the rest") })
			c.peerDied(sh.loop, dead)
		})
		_ = ends[1-dead].SetReadDeadline(time.Now().Add(testTimeout))
		if data, err := io.ReadAll(ends[1-dead]); string(data) != "the rest" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("side %d is dead: the other got %q, %v; want %q, then a reset", dead, data, err, "the rest")
		}
	}
}

// TestBytesThatWaitForAResetAreLookedAtMoreAndMoreSeldom, with no timeout that
// would say how often.
func TestBytesThatWaitForAResetAreLookedAtMoreAndMoreSeldom(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	client, master := s.next(t)
	if err := client.SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	const size = 400_000
	if _, err := master.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bytes to be with the kernel", func() bool {
		return s.p.Snapshot().Labels[0].BytesDown >= size && !isStuck(s.p)
	})
	onShard(s.p, 0, func(sh *shard) {
		var c *conn
		sh.conns.all(func(only *conn) { c = only })
		c.peerDied(sh.loop, 1)
		for range mostPolls {
			if _, armed := sh.timers.deadlineOf(c.index); !armed {
				t.Error("it is not looked at again")
				return
			}
			sh.timers.disarm(c.index)
			c.onTimeout(sh.loop)
		}
		if at, _ := sh.timers.deadlineOf(c.index); at != sh.now+int64(lastPoll) {
			t.Errorf("next look: got %v later; want %v", time.Duration(at-sh.now), lastPoll)
		}
	})
}

// TestWhatAResetSourceHasLeftIsNotLostBetweenAnAcknowledgementAndItsEvent: a
// timer comes when all that the kernel had is acknowledged and it has not yet
// been said that there is room for the rest.
func TestWhatAResetSourceHasLeftIsNotLostBetweenAnAcknowledgementAndItsEvent(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.lateOptions = true
	c.flows[up].cutShort, c.flows[up].rest = true, s.leftovers.keep([]byte("the rest"))
	c.sideBroken(s.loop, client)
	c.sides[master].writable = false
	c.watch = watchPending
	c.onDeadline(s.loop)
	c.onEvent(s.loop, master, sock.ReadyOut)
	if n, err := sock.Receive(peers[master], s.scratch); err != nil || string(s.scratch[:n]) != "the rest" {
		t.Errorf("the master got %q, %v; want the rest", s.scratch[:n], err)
	}
}

func TestHalfCloseShortensATimeoutThatIsSet(t *testing.T) {
	_, s := stopped(t, Config{IdleTimeout: time.Hour, HalfCloseTimeout: time.Minute}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.lastActive = s.now - 1 // no byte has moved just now
	c.relay(s.loop)
	if at, _ := s.timers.deadlineOf(c.index); at != c.lastActive+int64(time.Hour) {
		t.Fatalf("deadline: got %d; want %d", at, c.lastActive+int64(time.Hour))
	}
	if err := sock.SendFIN(peers[client]); err != nil {
		t.Fatal(err)
	}
	c.onEvent(s.loop, client, sock.ReadyIn|sock.ReadyFIN)
	if at, _ := s.timers.deadlineOf(c.index); at > s.now+int64(time.Minute) {
		t.Errorf("deadline of the half-closed connection: got %d; want %d at most", at, s.now+int64(time.Minute))
	}
}

// TestSideThatBrokeFirstIsBlamed, and holds nothing that was on its way to it.
func TestSideThatBrokeFirstIsBlamed(t *testing.T) {
	for name, first := range map[string]int{"client": client, "master": master} {
		t.Run(name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			c, _ := s.adopt(t, relaying)
			c.flows[1-first].rest = s.leftovers.keep([]byte("to the first"))
			kept := c.flows[1-first].rest
			c.sideBroken(s.loop, first)
			if c.flows[1-first].holds() {
				t.Error("bytes for the side that broke are kept")
			}
			if again := s.leftovers.keep([]byte("x")); again != kept {
				t.Error("what they were kept in is not used again")
			}
			c.sideBroken(s.loop, 1-first)
			c.relay(s.loop)
			want := ClientReset
			if first == master {
				want = MasterReset
			}
			if got := s.counters[0].closed; got[want] != 1 {
				t.Errorf("closed by reason: got %v; want one %v", got, want)
			}
		})
	}
}
