package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// What becomes of a proxy whose machine, or the rest of whose process, is out
// of something, and has it again.

// number asks c for one.
func (c *child) number(t testing.TB, command string, args ...any) int {
	t.Helper()
	n, err := strconv.Atoi(c.ask(command, args...))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestClientsAreAcceptedWhenDescriptorsAreBack although no connection has
// ended: there is none.
func TestClientsAreAcceptedWhenDescriptorsAreBack(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, echo)
	p := newChild(t, "proxy")
	addr := p.ask("serve %v 256 100", m.addr)
	p.ask("hog")
	client, err := dialTCP(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	waitEqual(t, "pauses", 1, func() int { return p.number(t, "pauses") })
	p.ask("release")
	if err := ask(client); err != nil {
		t.Errorf("client that waited for descriptors: %v", err)
	}
}

// TestStreamsAreSplicedAgainWhenDescriptorsAreBack: a pipe that could not be
// opened, many times over, is none that is in use.
func TestStreamsAreSplicedAgainWhenDescriptorsAreBack(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, nil)
	p := newChild(t, "proxy")
	s := newStream(t, p.ask("serve %v 256 100", m.addr), m)
	p.ask("hog")
	waitUntil(t, "far more failures than there may be pipes", func() bool {
		s.pass(4 << 20)
		return p.number(t, "fallbacks") > 100
	})
	if n := p.number(t, "spliced"); n != 0 {
		t.Fatalf("spliced without a descriptor: got %d bytes; want none", n)
	}
	p.ask("release")
	waitUntil(t, "spliced bytes", func() bool {
		s.pass(4 << 20)
		return p.number(t, "spliced") > 0
	})
}

// TestStreamsAreSplicedAgainWhenTheUsersPipesAreFewer: for a while the kernel
// gave this user none but tiny ones.
func TestStreamsAreSplicedAgainWhenTheUsersPipesAreFewer(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, nil)
	p := newChild(t, "proxy")
	p.ask("unprivileged")
	addr := p.ask("serve %v 1024 100", m.addr)
	p.ask("hog pipes")
	s := newStream(t, addr, m)
	waitUntil(t, "attempts to splice", func() bool {
		s.pass(4 << 20)
		return p.number(t, "fallbacks") > 3
	})
	if n := p.number(t, "spliced"); n != 0 {
		t.Errorf("spliced through tiny pipes: got %d bytes; want none", n)
	}
	p.ask("release")
	waitUntil(t, "spliced bytes", func() bool {
		s.pass(4 << 20)
		return p.number(t, "spliced") > 0
	})
}

// stream is a connection whose master reads as fast as it can.
type stream struct {
	t              testing.TB
	client, server *net.TCPConn
	sent, seen     pattern
}

func newStream(t testing.TB, addr string, m *master) *stream {
	t.Helper()
	client, err := dialTCP(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &stream{t: t, client: client, server: m.next()}
}

// pass sends n bytes and reads them on the other side.
func (s *stream) pass(n int) {
	s.t.Helper()
	var g errgroup.Group
	g.Go(func() error { return send(s.client, &s.sent, n, atOnce(1<<18)) })
	if err := receive(s.server, &s.seen, n, atOnce(1<<18)); err != nil {
		s.t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		s.t.Fatal(err)
	}
}

// proxyRole is a proxy in a process of its own. Its commands are
//
//	serve MASTER FILES MAXCONNS    with so many descriptors; answers the address of its listener; MASTER may be none
//	active                         answers the number of its clients
//	cpu                            answers the CPU time it has used, in nanoseconds
//	unprivileged                   to be a user of whom the kernel bounds the pipes, before serve
//	hog                            takes every descriptor that is left
//	hog pipes                      takes the pipes that the user may have
//	release                        gives back what hog took
//	pauses                         answers how often it has said that it accepts nobody
//	spliced, fallbacks             answer the counters of that name
type proxyRole struct {
	*proxy.Proxy
	hogged []int
	pauses atomic.Int64
}

func newProxyRole() func(string, []string) string {
	r := &proxyRole{}
	return func(verb string, args []string) string {
		answer, err := r.do(verb, args)
		if err != nil {
			return fmt.Sprint("error: ", err)
		}
		return fmt.Sprint(answer)
	}
}

func (r *proxyRole) do(verb string, args []string) (answer any, err error) {
	switch verb {
	case "serve":
		return r.serve(args)
	case "active":
		return r.Active(), nil
	case "cpu":
		var u syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return u.Utime.Nano() + u.Stime.Nano(), err
	case "unprivileged":
		if os.Getuid() != 0 {
			return "is already", nil
		}
		const nobody = 65534
		return "is now", syscall.Setuid(nobody) // which drops the capabilities
	case "hog":
		if len(args) > 0 {
			return r.hogPipes()
		}
		return r.hog()
	case "release":
		for _, fd := range r.hogged {
			unix.Close(fd)
		}
		r.hogged = nil
		return "done", nil
	case "pauses":
		return r.pauses.Load(), nil
	case "spliced":
		return r.Snapshot().Labels[0].SplicedBytes, nil
	case "fallbacks":
		return r.Snapshot().Labels[0].PipeFallbacks, nil
	}
	return nil, fmt.Errorf("no command %s", verb)
}

func (r *proxyRole) serve(args []string) (listen string, err error) {
	files, _ := strconv.ParseUint(args[1], 10, 64)
	limit := syscall.Rlimit{Cur: files, Max: files}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return "", err
	}
	c := config()
	c.MaxConns, _ = strconv.Atoi(args[2])
	c.HoldTimeout = 2 * testTimeout
	if r.Proxy, err = proxy.New(c, zerolog.New(r)); err != nil {
		return "", err
	}
	go r.Serve(context.Background())
	if args[0] != "none" {
		r.SetMaster("default", proxy.Master{Address: netip.MustParseAddrPort(args[0])})
	}
	return r.Snapshot().Labels[0].Listen, nil
}

// Write takes the log.
func (r *proxyRole) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("accepting paused")) {
		r.pauses.Add(1)
	}
	return len(line), nil
}

func (r *proxyRole) hog() (answer any, err error) {
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return len(r.hogged), nil
		}
		r.hogged = append(r.hogged, fd)
	}
}

// hogPipes opens pipes until one is smaller than it is asked to be.
func (r *proxyRole) hogPipes() (answer any, err error) {
	const size = 1 << 20
	for {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, err
		}
		r.hogged = append(r.hogged, fds[:]...)
		if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size); err != nil {
			return len(r.hogged), nil
		}
	}
}
