package proxy

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBothSidesHaveTheSocketOptions(t *testing.T) {
	p, address := running(t, Config{Shards: 1, KeepAlive: 61 * time.Second, UserTimeout: 33 * time.Second}, echo(t))
	roundTrip(t, dialed(t, address), []byte("x"))
	eventually(t, "the master's side to be equipped", func() bool {
		equipped := false
		onShard(p, 0, func(s *shard) { s.conns.all(func(c *conn) { equipped = c.equipped }) })
		return equipped
	})
	want := []struct {
		name            string
		level, opt, val int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 61},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 11},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 33000},
	}
	onShard(p, 0, func(s *shard) {
		s.conns.all(func(c *conn) {
			for which, name := range []string{"client", "master"} {
				for _, w := range want {
					got, err := unix.GetsockoptInt(int(c.sides[which].fd), w.level, w.opt)
					if err != nil || got != w.val {
						t.Errorf("%s side, %s: got %d, %v; want %d", name, w.name, got, err, w.val)
					}
				}
			}
		})
	})
}

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
		fd, bound, err := openListener(t.Context(), c.listen, socketOptions{})
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
		closeFD(fd)
	}
}

// isAccepted reports whether c is a connection that fd accepts, for which it
// waits when it should be.
func isAccepted(t *testing.T, fd int, c *net.TCPConn, wait bool) bool {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got, peer, err := acceptOne(fd)
		if err == nil {
			closeFD(got)
			if peer == c.LocalAddr().(*net.TCPAddr).AddrPort() {
				return true
			}
			continue // somebody else's, lost
		}
		if err != errAgain || !wait || time.Now().After(end) {
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
		if _, _, err := openListener(t.Context(), address, socketOptions{}); err == nil || err.Error() != want {
			t.Errorf("got %v; want %s", err, want)
		}
	}
}
