package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
	"golang.org/x/sys/unix"
)

// given opens a socket as somebody else would, and gives it and its address.
func given(t *testing.T, o sock.Options) (*os.File, string) {
	t.Helper()
	fd, bound, err := sock.Listen(t.Context(), "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "given")
	t.Cleanup(func() { f.Close() })
	return f, bound.String()
}

// on serves a proxy on the listener until end is called.
func on(t *testing.T, l Listener, c Config) (p *Proxy, end func()) {
	t.Helper()
	l.Label = "default"
	c.Listeners = []Listener{l}
	p, err := New(c, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	p.SetMaster("default", Master{Address: netip.MustParseAddrPort(echo(t))})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(end)
	return p, end
}

func option(t *testing.T, f *os.File, level, name int) int {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	if e := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, name) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return v
}

func TestGivenSocketIsServedAndGetsTheOptionsOfToday(t *testing.T) {
	f, address := given(t, sock.Options{KeepAlive: time.Minute})
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		err = errors.Join(unix.SetNonblock(int(fd), false), // as systemd hands it over
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000)) // as versions before did
	})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := on(t, Listener{Address: "127.0.0.1:1", File: f}, Config{Shards: 1, UserTimeout: 7 * time.Second})
	if got := p.Snapshot().Labels[0].Listen; got != address {
		t.Errorf("got listen %s; want that of the socket, %s", got, address)
	}
	roundTrip(t, dialed(t, address), []byte("x"))
	roundTrip(t, dialed(t, address), []byte("y")) // the queue was empty in between: accept did not block
	if got := option(t, f, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 0 {
		t.Errorf("got keepalive %d; want it off, as configured now", got)
	}
	if got := option(t, f, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 0 {
		t.Errorf("got user timeout %d; want 0: it takes a peer that does not read for dead", got)
	}
}

// TestGivenSocketGetsTheBuffersOfToday: a process before may have bounded them.
func TestGivenSocketGetsTheBuffersOfToday(t *testing.T) {
	const locked = unix.SOCK_SNDBUF_LOCK | unix.SOCK_RCVBUF_LOCK
	for _, test := range []struct{ before, now, lock int }{
		{0, 32 << 10, locked},
		{32 << 10, 16 << 10, locked},
		{32 << 10, 0, 0},
	} {
		f, _ := given(t, sock.Options{Buffer: test.before})
		_, end := on(t, Listener{Address: "127.0.0.1:1", File: f}, Config{Shards: 1, SocketBuffer: test.now})
		if got := option(t, f, unix.SOL_SOCKET, unix.SO_BUF_LOCK); got != test.lock {
			t.Errorf("bounded to %d before, %d now: got lock %d; want %d", test.before, test.now, got, test.lock)
		}
		if got := option(t, f, unix.SOL_SOCKET, unix.SO_RCVBUF); test.now != 0 && got != 2*test.now {
			t.Errorf("bounded to %d before, %d now: got a buffer of %d; want %d", test.before, test.now, got, 2*test.now)
		}
		end()
	}
}

// TestGivenSocketGetsTheCongestionControlOfToday: a process before may have chosen another.
func TestGivenSocketGetsTheCongestionControlOfToday(t *testing.T) {
	of := func(f *os.File) (name string) {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { name = congestion(t, int(fd)) }); err != nil {
			t.Fatal(err)
		}
		return name
	}
	fresh, _ := given(t, sock.Options{LocalCongestion: sock.LocalCongestion()})
	for _, test := range []struct{ before, now, want string }{
		{"", "reno", "reno"},
		{"reno", "", of(fresh)},
	} {
		f, _ := given(t, sock.Options{Congestion: test.before})
		_, end := on(t, Listener{Address: "127.0.0.1:1", File: f}, Config{Shards: 1, Congestion: test.now})
		if got := of(f); got != test.want {
			t.Errorf("%q before, %q now: got %s; want %s", test.before, test.now, got, test.want)
		}
		end()
	}
}

func TestGivenSocketOfAnotherKindIsRefused(t *testing.T) {
	socket := func(domain, kind, protocol int) *os.File {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "given")
		t.Cleanup(func() { f.Close() })
		return f
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for says, f := range map[string]*os.File{
		"it is no stream socket":          socket(unix.AF_INET, unix.SOCK_DGRAM, 0),
		"it is no socket of the internet": socket(unix.AF_UNIX, unix.SOCK_STREAM, 0),
		"it does not listen":              socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP),
		"socket operation on non-socket":  null,
	} {
		_, err := New(Config{Shards: 1, Listeners: []Listener{{Label: "default", File: f}}}, nopLog)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "default") {
			t.Errorf("got %v; want an error that names the label and says %q", err, says)
		}
	}
}

func TestFilterThatAKilledProcessLeftIsRemoved(t *testing.T) {
	f, address := given(t, sock.Options{})
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = sock.RefuseNewHandshakes(int(fd)) })
	if err != nil {
		t.Fatal(err)
	}
	on(t, Listener{File: f, Shared: true}, Config{Shards: 1})
	roundTrip(t, dialed(t, address), []byte("x"))
}

func TestStopAcceptingLeavesASharedSocketListening(t *testing.T) {
	f, address := given(t, sock.Options{})
	p, end := on(t, Listener{File: f, Shared: true}, Config{Shards: 2})
	roundTrip(t, dialed(t, address), []byte("x"))
	for range 3 {
		p.StopAccepting()
		waiting := dialed(t, address)
		if _, err := waiting.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := p.AcceptAgain(); err != nil {
			t.Fatalf("resume: %v", err)
		}
		b := make([]byte, 1)
		if _, err := waiting.Read(b); err != nil {
			t.Fatalf("client that waited: %v", err)
		}
	}
	p.StopAccepting()
	end()
	waiting := dialed(t, address)
	on(t, Listener{File: f, Shared: true}, Config{Shards: 1})
	roundTrip(t, waiting, []byte("x"))
}

// handOver gives a second proxy the sockets of the first.
func handOver(t *testing.T, first *Proxy, c Config) (second *Proxy, end func()) {
	t.Helper()
	files, err := first.ListenerFiles()
	if err != nil {
		t.Fatal(err)
	}
	defer files[0].Close()
	second, end = on(t, Listener{File: files[0]}, c)
	if err := second.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := first.Release()
	if err != nil {
		t.Fatalf("release: %v", err)
	}
	<-left
	second.Rearm()
	return second, end
}

func TestReleasedSocketsAreTheOthersAlone(t *testing.T) {
	first, endFirst := on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 2})
	address := first.Snapshot().Labels[0].Listen
	live := dialed(t, address)
	roundTrip(t, live, []byte("x"))
	second, endSecond := handOver(t, first, Config{Shards: 2})

	if err := first.AcceptAgain(); !errors.Is(err, ErrReleased) {
		t.Errorf("resume: got %v; want ErrReleased", err)
	}
	if _, err := first.Release(); err == nil {
		t.Error("second release: got nil; want an error")
	}
	if _, err := first.ListenerFiles(); err == nil {
		t.Error("listener files after the release: got nil; want an error")
	}
	first.StopAccepting() // must not touch the socket: it is the other's
	for range 100 {
		roundTrip(t, dialed(t, address), []byte("x"))
	}
	if got := first.Active(); got != 1 {
		t.Errorf("first: got %d connections; want the 1 of before", got)
	}
	roundTrip(t, live, []byte("x"))
	live.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := first.Shutdown(ctx); err != nil {
		t.Errorf("shutdown after the release: %v", err)
	}
	endFirst()
	roundTrip(t, dialed(t, address), []byte("x"))

	second.StopAccepting() // the sockets are its own: it closes them
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("got a connection after StopAccepting; want it refused")
	}
	if err := second.AcceptAgain(); err != nil {
		t.Errorf("resume: %v", err)
	}
	roundTrip(t, dialed(t, address), []byte("x"))
	endSecond()
}

// The kernel wakes one waiter a connection. Here that is a shard which finds,
// when it wakes, that it is to leave the listeners: the one that stays may not
// have been told, and without Rearm the client would wait for the next one.
func TestClientOfAShardThatLeftIsFoundByTheOneThatStays(t *testing.T) {
	for name, firstLeaves := range map[string]bool{"first leaves": true, "second leaves": false} {
		t.Run(name, func(t *testing.T) {
			leaves, _ := on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 1})
			address := leaves.Snapshot().Labels[0].Listen
			files, err := leaves.ListenerFiles()
			if err != nil {
				t.Fatal(err)
			}
			defer files[0].Close()
			stays, _ := on(t, Listener{File: files[0]}, Config{Shards: 1})
			for _, p := range []*Proxy{leaves, stays} {
				if err := p.Heartbeat(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if !firstLeaves { // the order of the waiters
				leaves, stays = stays, leaves
			}
			busy, left := make(chan struct{}), make(chan struct{})
			stays.shards[0].mail.post(func() bool { <-busy; return false }) // the kernel wakes no waiter that is awake
			time.Sleep(20 * time.Millisecond)                               // until the other sleeps: awake, it would read its mail too soon to show anything
			s := leaves.shards[0]
			s.mail.mu.Lock()
			s.mail.messages = append(s.mail.messages, func() { s.leaveListeners(); close(left) })
			s.mail.urgent.Store(true) // and the shard is not woken
			s.mail.mu.Unlock()
			waiting := dialed(t, address)
			select {
			case <-left:
			case <-time.After(20 * time.Second):
				t.Error("the shard was not woken")
			}
			close(busy)
			stays.Rearm()
			roundTrip(t, waiting, []byte("x"))
			if got := stays.Active(); got != 1 {
				t.Errorf("got %d connections; want 1", got)
			}
		})
	}
}

func TestHeartbeatIsThatOfEveryShard(t *testing.T) {
	p, err := New(Config{Shards: 2, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Heartbeat(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before Serve: got %v; want the deadline", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	if err := p.Heartbeat(t.Context()); err != nil {
		t.Errorf("got %v; want nil", err)
	}
	stuck := make(chan struct{})
	p.shards[1].mail.post(func() bool { <-stuck; return false })
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Heartbeat(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a stuck shard: got %v; want the deadline", err)
	}
	close(stuck)
	if err := p.Heartbeat(t.Context()); err != nil {
		t.Errorf("when it goes on: got %v; want nil", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if err := p.Heartbeat(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Serve: got %v; want ErrClosed", err)
	}
}

func TestProxyThatNeverServedIsClosed(t *testing.T) {
	f, address := given(t, sock.Options{})
	p, err := New(Config{Shards: 2, Listeners: []Listener{{Label: "default", File: f}}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	p.SetMaster("default", Master{Address: netip.MustParseAddrPort("127.0.0.1:1")}) // before Serve
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Serve(t.Context()); err == nil {
		t.Error("serve after close: got nil; want an error")
	}
	waiting := dialed(t, address) // the socket still listens: it is somebody else's as well
	on(t, Listener{File: f}, Config{Shards: 1})
	roundTrip(t, waiting, []byte("x"))
}
