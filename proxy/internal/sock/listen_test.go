package sock

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListenersAreDualStackWhereTheAddressSaysSo(t *testing.T) {
	for _, c := range []struct {
		listen string
		v4, v6 bool
	}{
		{":0", true, true},
		{"[::]:0", true, true},
		{"0.0.0.0:0", true, false},
		{"127.0.0.1:0", true, false},
		{"[::1]:0", false, true},
	} {
		fd, bound, err := Listen(t.Context(), c.listen, Options{})
		if err != nil {
			t.Errorf("listen on %s: %v", c.listen, err)
			continue
		}
		for host, want := range map[string]bool{"127.0.0.1": c.v4, "::1": c.v6} {
			conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(host), Port: int(bound.Port())})
			if err != nil {
				if want {
					t.Errorf("listening on %s, connect to %s: got %v; want a connection", c.listen, host, err)
				}
				continue
			}
			// Where it is not to be ours, the port may be somebody else's.
			if got := isAccepted(t, fd, conn, want); got != want {
				t.Errorf("listening on %s, connection to %s is ours: got %v; want %v", c.listen, host, got, want)
			}
			conn.Close()
		}
		if mptcp, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || mptcp != unix.IPPROTO_TCP {
			t.Errorf("listening on %s: protocol %d, %v; want plain TCP", c.listen, mptcp, err)
		}
		Close(fd)
	}
}

// isAccepted reports whether c is a connection that fd accepts, for which it
// waits when it should be.
func isAccepted(t *testing.T, fd int, c *net.TCPConn, wait bool) bool {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		got, peer, err := Accept(fd)
		if err == nil {
			Close(got)
			if peer == c.LocalAddr().(*net.TCPAddr).AddrPort() {
				return true
			}
			continue // somebody else's, lost
		}
		if err != ErrAgain || !wait || time.Now().After(end) {
			return false
		}
	}
}

func TestListenErrorsNameTheAddressAndTheReason(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		"nonsense":            `listen on "nonsense": address nonsense: missing port in address`,
		"127.0.0.1:http":      `listen on "127.0.0.1:http": port "http" is not a number from 0 to 65535`,
		"192.0.2.1:1":         `listen on "192.0.2.1:1": bind: cannot assign requested address`,
		taken.Addr().String(): `listen on "` + taken.Addr().String() + `": bind: address already in use`,
		"127.0.0.1:70000":     `listen on "127.0.0.1:70000": port "70000" is not a number from 0 to 65535`,
	} {
		if _, _, err := Listen(t.Context(), address, Options{}); err == nil || err.Error() != want {
			t.Errorf("got %v; want %s", err, want)
		}
	}
}

func TestLocalAddressAllocatesNothing(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		fd, bound, err := Listen(t.Context(), address, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer Close(fd)
		if n := testing.AllocsPerRun(100, func() {
			if got, err := LocalAddress(fd); err != nil || got != bound || got.Port() == 0 {
				t.Errorf("got %v, %v; want %v", got, err, bound)
			}
		}); n != 0 {
			t.Errorf("%s: got %v allocations; want 0", address, n)
		}
	}
	if got, err := LocalAddress(0); err == nil {
		t.Errorf("of what is no socket: got %v; want an error", got)
	}
}

// TestNoDescriptorIsInherited by a command that the process starts: a connection
// is not reset while another process has its socket, and no port is closed.
func TestNoDescriptorIsInherited(t *testing.T) {
	open := map[string]int{}
	add := func(what string, fd int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Cleanup(func() { Close(fd) })
		open[what] = fd
		return fd
	}
	fd, bound, err := Listen(t.Context(), "127.0.0.1:0", Options{})
	listener := add("a listener", fd, err)
	fd, err = Duplicate(listener)
	add("a listener's copy", fd, err)
	fd, err = Connect(bound, Options{})
	add("a master's side", fd, err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // its handshake
		if fd, _, err = Accept(listener); err != ErrAgain || time.Now().After(end) {
			break
		}
	}
	add("a client's side", fd, err)
	r, w, _, err := OpenPipe(1)
	add("a pipe's end", r, err)
	add("a pipe's beginning", w, err)
	p, err := NewPoller()
	add("an epoll", p.fd, err)
	fd, err = OpenWaker()
	add("a waker", fd, err)
	for what, fd := range open {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: got flags %#x, %v; want it closed on exec", what, flags, err)
		}
	}
}
