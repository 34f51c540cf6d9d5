package proxy

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// The store alone stops every transfer: no letter has reached a shard here.
func TestNoTransferBeginsAfterTheStore(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))

	o := p.labels[0]
	old := o.current.Load()
	o.current.Store(newEpoch(old.number+1, Master{Address: netip.MustParseAddrPort("127.0.0.1:1")}))
	if _, err := c.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	// The shard has seen the event when it answers a letter posted after the
	// bytes have arrived at its socket.
	eventually(t, "the bytes to arrive", func() bool {
		unread := false
		onShard(p, 0, func(s *shard) {
			s.conns.all(func(c *conn) { unread = unread || c.sides[client].readable })
		})
		return unread
	})
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 16)); !os.IsTimeout(err) {
		t.Fatalf("read after the store: got %d bytes, %v; want a timeout", n, err)
	}
	if got, want := p.Snapshot().Labels[0].BytesUp, uint64(len("before")); got != want {
		t.Errorf("bytes taken from the client: got %d; want %d", got, want)
	}

	o.current.Store(old)
	onShard(p, 0, func(s *shard) { s.conns.all(func(c *conn) { c.enqueue(s.loop) }) })
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 16)); n != len("after") || err != nil {
		t.Errorf("read with the epoch back in force: got %d bytes, %v; want %d", n, err, len("after"))
	}
}

func TestMastersSidesAreResetBeforeAnyClientsSide(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	for range 10 {
		roundTrip(t, dialed(t, address), []byte("x"))
	}
	onShard(p, 0, func(s *shard) {
		j := &cutJob{reason: Failover, done: func(*cutJob) {}}
		s.conns.all(j.add)
		for range j.victims {
			s.cutNext(j)
		}
		s.start(j)
		for _, r := range j.victims {
			c := s.conns.get(r)
			if c == nil || c.sides[client].fd == sock.NoFD {
				t.Error("a client's side was closed before the last master's side")
			} else if c.sides[master].fd != sock.NoFD {
				t.Error("a master's side is still open after as many closes as there are victims")
			}
		}
	})
	eventually(t, "the cut to end", func() bool { return p.Active() == 0 })
}

func TestNothingTouchesAConnectionWhoseEndIsOrdered(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	c := dialed(t, address)
	roundTrip(t, c, []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.conns.all(func(c *conn) {
			c.state = cutting
			c.onEvent(s.loop, client, sock.ReadyIn|sock.ReadyOut)
			c.onEvent(s.loop, master, sock.ReadyError)
			if c.sides[client].fd == sock.NoFD || c.sides[master].fd == sock.NoFD {
				t.Error("an event closed a socket of a connection that is being cut")
			}
			c.state = relaying
		})
	})
}
