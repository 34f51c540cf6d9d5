package proxy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// TestBothSidesHaveBoundedBuffers, of which the kernel makes twice the size.
func TestBothSidesHaveBoundedBuffers(t *testing.T) {
	const n = 32 << 10
	p, address := running(t, Config{Shards: 1, SocketBuffer: n}, echo(t))
	roundTrip(t, dialed(t, address), []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.conns.all(func(c *conn) {
			for which, name := range []string{"client", "master"} {
				for option, of := range map[int]string{unix.SO_SNDBUF: "send", unix.SO_RCVBUF: "receive"} {
					if got, err := unix.GetsockoptInt(int(c.sides[which].fd), unix.SOL_SOCKET, option); err != nil || got != 2*n {
						t.Errorf("%s side, %s buffer: got %d, %v; want %d", name, of, got, err, 2*n)
					}
				}
			}
		})
	})
}

func TestBothSidesHaveTheSocketOptions(t *testing.T) {
	p, address := running(t, Config{Shards: 1, KeepAlive: 61 * time.Second, UserTimeout: 33 * time.Second}, echo(t))
	roundTrip(t, dialed(t, address), []byte("x"))
	eventually(t, "the master's side to have its late options", func() bool {
		has := false
		onShard(p, 0, func(s *shard) { s.conns.all(func(c *conn) { has = c.lateOptions }) })
		return has
	})
	want := []struct {
		name            string
		level, opt, val int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 61},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 4},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0},
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

// TestBothSidesHaveTheCongestionControl: the one that was asked for, else, since
// both are of this host, none that paces.
func TestBothSidesHaveTheCongestionControl(t *testing.T) {
	for name, test := range map[string]struct {
		asked string
		want  func(got string) bool
	}{
		"reno, asked for": {"reno", func(got string) bool { return got == "reno" }},
		"none asked for":  {"", func(got string) bool { return !sock.Paces(got) }},
	} {
		p, address := running(t, Config{Shards: 1, Congestion: test.asked}, echo(t))
		roundTrip(t, dialed(t, address), []byte("x"))
		onShard(p, 0, func(s *shard) {
			s.conns.all(func(c *conn) {
				for which, side := range []string{"client", "master"} {
					if got := congestion(t, int(c.sides[which].fd)); !test.want(got) {
						t.Errorf("%s: got %s at the %s's side", name, got, side)
					}
				}
			})
		})
	}
}

func congestion(t *testing.T, fd int) string {
	t.Helper()
	got, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
