package proxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// The tests of this package's inside. What clients and masters see of it is
// pinned from outside, in the blackbox_ files.

// running starts a proxy in front of master and ends it with the test.
func running(tb testing.TB, c Config, master string) (*Proxy, string) {
	tb.Helper()
	return runningWithLog(tb, c, master, nopLog)
}

func runningWithLog(tb testing.TB, c Config, master string, log zerolog.Logger) (*Proxy, string) {
	tb.Helper()
	c.Listeners = []Listener{{Label: "default", Address: "127.0.0.1:0"}}
	p := servedWithLog(tb, c, log)
	if master != "" {
		p.SetMaster("default", Master{Address: netip.MustParseAddrPort(master)})
	}
	return p, p.Snapshot().Labels[0].Listen
}

// served starts a proxy and ends it with the test.
func served(tb testing.TB, c Config) *Proxy {
	tb.Helper()
	return servedWithLog(tb, c, nopLog)
}

func servedWithLog(tb testing.TB, c Config, log zerolog.Logger) *Proxy {
	tb.Helper()
	p, err := New(c, log)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	if err := p.Heartbeat(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return p
}

// stopped is a proxy of one shard whose loop does not run: the test takes its
// steps. Its mailbox is open.
func stopped(tb testing.TB, c Config, log zerolog.Logger) (*Proxy, *shard) {
	tb.Helper()
	c.Listeners, c.Shards = []Listener{{Label: "default", Address: "127.0.0.1:0"}}, 1
	p, err := New(c, log)
	if err != nil {
		tb.Fatal(err)
	}
	s := p.shards[0]
	s.mail.start()
	tb.Cleanup(func() {
		s.end()
		p.close()
	})
	return p, s
}

// adopt makes a connection in the state, each of whose sides is one end of a
// socket pair, and returns it and the other ends, by side.
func (s *shard) adopt(tb testing.TB, st state) (c *conn, peers [2]int) {
	tb.Helper()
	c = s.conns.take(s.loop)
	c.label, c.state = s.labels[0], st
	c.counters(s.loop).active++
	c.accepted = s.clock.now()
	c.waitingSince = c.accepted
	s.slots.used.Add(1)
	s.load.Add(1)
	for which := range c.sides {
		if which == master && !st.hasReachedMaster() {
			continue
		}
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { sock.Close(fds[1]) })
		c.sides[which] = side{fd: int32(fds[0]), writable: true}
		peers[which] = fds[1]
	}
	if st == relaying {
		c.epoch = c.label.current.Load()
	}
	return c, peers
}

// runAllReady goes on with ready connections until none is left.
func (s *shard) runAllReady() {
	for !s.ready.isEmpty() {
		s.runReady()
	}
}

// logLines is a log's writer that is called for each line.
type logLines func(line string)

func (f logLines) Write(line []byte) (int, error) {
	f(string(line))
	return len(line), nil
}

// echo answers every client with what it sends, until the test ends.
func echo(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dialed(tb testing.TB, address string) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	return c
}

func roundTrip(tb testing.TB, c net.Conn, b []byte) {
	tb.Helper()
	if _, err := c.Write(b); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		tb.Fatal(err)
	}
}

// onShard runs f in shard i's goroutine and waits for it.
func onShard(p *Proxy, i int, f func(*shard)) {
	done := make(chan struct{})
	p.shards[i].mail.postOrRun(func() (more bool) {
		f(p.shards[i])
		close(done)
		return false
	})
	<-done
}

var nopLog = zerolog.Nop()

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited 20s: %s", what)
		}
	}
}
