package proxy_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
	"github.com/rosproxy/rosproxy/proxy/netnstest"
)

// A wire is what lies between the proxy and its peers in tests of a network
// that loses packets: two TUN devices in network namespaces of their own, and
// a goroutine each way that carries IP packets or drops them. Nobody is told
// of a packet that is dropped, as with a cable that is pulled.
type wire struct {
	t      testing.TB
	peers  *netnstest.Namespace
	onOurs *os.File
	remote *os.File
	wg     sync.WaitGroup

	mu       sync.Mutex
	unplug   map[netip.Addr]bool
	policy   func(packet) bool // reports whether to drop; nil: never
	dropped  int
	nextHost byte
}

// packet is what a policy gets to know of one.
type packet struct {
	from, to netip.Addr
	payload  int // bytes of TCP payload
	ack      uint32
	seq      uint32
	flags    byte // of TCP
}

const wireEnv = "ROSPROXY_TEST_WIRE"

// onWire runs f in a process of its own whose network namespace nobody else
// uses, with a wire to the peers. The test is skipped where this may not be done.
func onWire(t *testing.T, f func(t *testing.T, w *wire)) {
	t.Helper()
	if os.Getenv(wireEnv) != "" {
		f(t, newWire(t))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and a TUN device take root")
	}
	t.Parallel() // the process does the work, and most of that is to wait
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), wireEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a network of its own: %v\n%s", err, out)
	}
	t.Logf("in a network of its own:\n%s", out)
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, unplug: map[netip.Addr]bool{}, nextHost: 10}
	w.peers = netnstest.New(t)
	var err error
	if w.onOurs, err = openTUN(proxyHost); err == nil {
		err = w.peers.Do(func() (err error) {
			w.remote, err = openTUN(netip.AddrFrom4([4]byte{10, 77, 0, 2}))
			return err
		})
	}
	if err != nil {
		t.Fatalf("lay a wire: %v", err)
	}
	w.wg.Go(func() { w.carry(w.onOurs, w.remote, 1) })
	w.wg.Go(func() { w.carry(w.remote, w.onOurs, 2) })
	t.Cleanup(func() {
		w.onOurs.Close()
		w.remote.Close()
		w.wg.Wait()
	})
	return w
}

// proxyHost is the proxy's end of the wire.
var proxyHost = netip.AddrFrom4([4]byte{10, 77, 0, 1})

// carry moves packets until the wire is taken away.
func (w *wire) carry(from, to *os.File, seed uint64) {
	for buf := make([]byte, 1<<16); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p, ok := parsePacket(buf[:n])
		if !ok || w.drops(p) { // not IPv4: neighbour discovery of IPv6
			continue
		}
		if _, err := to.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

func (w *wire) drops(p packet) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	drop := w.unplug[p.from] || w.unplug[p.to] || w.policy != nil && w.policy(p)
	if drop {
		w.dropped++
	}
	return drop
}

// pull takes the cable of a host out.
func (w *wire) pull(host netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unplug[host] = true
}

// drop has f say which packets are lost from now on; nil: none. It is called
// for one packet at a time.
func (w *wire) drop(f func(packet) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = f
}

// lost is how many packets have been dropped.
func (w *wire) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// losing drops one packet in so many, at random.
func losing(one int) func(packet) bool {
	rng := rand.New(rand.NewPCG(7, uint64(one)))
	return func(packet) bool { return rng.IntN(one) == 0 }
}

func parsePacket(b []byte) (p packet, ok bool) {
	if len(b) < 40 || b[0]>>4 != 4 || b[9] != syscall.IPPROTO_TCP {
		return p, false
	}
	header := int(b[0]&15) * 4
	tcp := b[header:]
	p.from, _ = netip.AddrFromSlice(b[12:16])
	p.to, _ = netip.AddrFromSlice(b[16:20])
	p.seq, p.ack = binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:])
	p.flags = tcp[13]
	p.payload = int(binary.BigEndian.Uint16(b[2:])) - header - int(tcp[12]>>4)*4
	return p, true
}

// host gives the peers' end of the wire one more address.
func (w *wire) host() netip.Addr {
	w.t.Helper()
	w.mu.Lock()
	w.nextHost++
	host := netip.AddrFrom4([4]byte{10, 77, 0, w.nextHost})
	w.mu.Unlock()
	if err := w.peers.Do(func() error { return addAddress(fmt.Sprint("tun0:", host.As4()[3]), host) }); err != nil {
		w.t.Fatalf("add the host %v: %v", host, err)
	}
	return host
}

// master listens on a host of its own; the test takes its connections from next.
func (w *wire) master() *master {
	w.t.Helper()
	host := w.host()
	var ln net.Listener
	err := w.peers.Do(func() (err error) {
		lc := net.ListenConfig{Control: smallFromTheStart}
		lc.SetMultipathTCP(false)
		ln, err = lc.Listen(w.t.Context(), "tcp4", netip.AddrPortFrom(host, 0).String())
		return err
	})
	if err != nil {
		w.t.Fatalf("listen on %v: %v", host, err)
	}
	return startMaster(w.t, ln.(*net.TCPListener), nil)
}

// dial connects to the proxy from a host of its own.
func (w *wire) dial(r *relay) *net.TCPConn {
	w.t.Helper()
	host := w.host()
	var c net.Conn
	err := w.peers.Do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: host.AsSlice()}, Control: smallFromTheStart}
		d.SetMultipathTCP(false)
		c, err = d.Dial("tcp4", r.addrs["default"])
		return err
	})
	if err != nil {
		w.t.Fatalf("dial from %v: %v", host, err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * testTimeout))
	return c.(*net.TCPConn)
}

// smallFromTheStart gives a socket a small receive buffer before it gives any
// window: the window closes, but what was given is not taken back.
func smallFromTheStart(_, _ string, raw syscall.RawConn) (err error) {
	return errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, smallWindow)
	}), err)
}

// hostOf is where the peer's end of a connection is.
func hostOf(c *net.TCPConn) netip.Addr { return c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() }

// openTUN makes the device tun0 in the namespace of the calling thread.
func openTUN(address netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	ifr, err := unix.NewIfreq("tun0")
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	}
	if err == nil {
		err = addAddress("tun0", address)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tun0"), nil
}

// addAddress gives the device an address in a /24, and sets it up.
func addAddress(device string, address netip.Addr) error {
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(control)
	for _, set := range []struct {
		name  string
		call  uint
		value func(*unix.Ifreq) error
	}{
		{"SIOCSIFADDR", unix.SIOCSIFADDR, func(i *unix.Ifreq) error { return i.SetInet4Addr(address.AsSlice()) }},
		{"SIOCSIFNETMASK", unix.SIOCSIFNETMASK, func(i *unix.Ifreq) error { return i.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{"SIOCSIFFLAGS", unix.SIOCSIFFLAGS, func(i *unix.Ifreq) error { i.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		ifr, err := unix.NewIfreq(device)
		if err == nil {
			err = set.value(ifr)
		}
		if err == nil {
			err = os.NewSyscallError(set.name, unix.IoctlIfreq(control, set.call, ifr))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestWireCarriesAndDropsWhatItIsTold keeps the tests of dead peers honest.
func TestWireCarriesAndDropsWhatItIsTold(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		m := w.master()
		r := newProxy(t, wireConfig())
		r.set(m.addr)
		client := w.dial(r)
		server := m.next()
		relays(t, client, server)
		w.drop(losing(10))
		const size = 1 << 20
		sent := make(chan error, 1)
		go func() { sent <- send(client, &pattern{}, size, atOnce(1<<16)) }()
		if err := errors.Join(receive(server, &pattern{}, size, atOnce(1<<16)), <-sent); err != nil {
			t.Fatalf("a stream over a wire that loses: %v", err)
		}
		if w.lost() == 0 {
			t.Error("packets lost: got 0; want some")
		}
		w.drop(nil)
		w.pull(hostOf(client))
		write(t, client, "lost")
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := io.ReadFull(server, make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read behind a cable that is pulled: got %d bytes, %v; want none", n, err)
		}
	})
}

// wireConfig listens on the proxy's end of the wire.
func wireConfig() proxy.Config {
	c := config()
	c.Listeners[0].Address = netip.AddrPortFrom(proxyHost, 0).String()
	return c
}
