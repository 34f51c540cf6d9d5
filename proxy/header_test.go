package proxy

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/rosproxy/rosproxy/proxy/internal/proxyproto"
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
	"golang.org/x/sys/unix"
)

// TestMasterThatHasResetBeforeItsHeaderIsBlamed: it had accepted.
func TestMasterThatHasResetBeforeItsHeaderIsBlamed(t *testing.T) {
	_, s := stopped(t, Config{SendProxy: ProxyV1}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.origin = &proxyproto.Origin{Source: netip.MustParseAddrPort("192.0.2.1:1"), Destination: netip.MustParseAddrPort("192.0.2.2:2")}
	if err := unix.Shutdown(peers[master], unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if c.sendHeader(s.loop) {
		t.Error("the connection lives")
	}
	if got := s.counters[0].closed; got[MasterReset] != 1 {
		t.Errorf("closed by reason: got %v; want one reset by the master", got)
	}
}

// TestHeaderGoesOutInOneSegmentWithTheFirstBytes where they are there, and at
// once where there is nothing to wait for.
func TestHeaderGoesOutInOneSegmentWithTheFirstBytes(t *testing.T) {
	_, s := stopped(t, Config{SendProxy: ProxyV2}, nopLog)
	for _, tc := range []struct {
		name     string
		readable bool // epoll has told of something to read
		urgent   bool
		sent     string
		ended    bool
		waits    bool // the header, for what comes behind it
	}{
		{"a client that says nothing", false, false, "", false, false},
		{"one that has sent", true, false, "request", false, true},
		{"one that has ended", true, false, "", true, true},
		{"one that epoll has told of for urgent data alone", true, true, "", false, false},
	} {
		c, peers := s.adoptTCP(t)
		if tc.sent != "" {
			if _, err := sock.Send(peers[client], []byte(tc.sent)); err != nil {
				t.Fatal(err)
			}
		}
		if tc.ended {
			if err := sock.SendFIN(peers[client]); err != nil {
				t.Fatal(err)
			}
		}
		if tc.waits {
			eventually(t, "something to read", func() bool { return !sock.NothingToRead(int(c.sides[client].fd)) })
		}
		c.sides[client].readable, c.sides[client].urgent = tc.readable, tc.urgent
		want, err := c.headerFor(ProxyV2)
		if err != nil {
			t.Fatal(err)
		}
		if !c.sendHeader(s.loop) {
			t.Fatalf("%s: the connection is over", tc.name)
		}
		if waits := sock.Unsent(int(c.sides[master].fd)) > 0; waits != tc.waits {
			t.Errorf("%s: the header waits for more: got %v; want %v", tc.name, waits, tc.waits)
		}
		c.relay(s.loop)
		if n := sock.Unsent(int(c.sides[master].fd)); n > 0 {
			t.Errorf("%s: got %d bytes that still wait; want none", tc.name, n)
		}
		want = append(want, tc.sent...)
		got := make([]byte, len(want)+1)
		eventually(t, tc.name+": the header", func() bool {
			n, err := sock.Peek(peers[master], got)
			return err == nil && bytes.Equal(got[:n], want)
		})
		info, err := unix.GetsockoptTCPInfo(peers[master], unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.Data_segs_in != 1 {
			t.Errorf("%s: got %d segments, %v; want 1", tc.name, info.Data_segs_in, err)
		}
	}
}

// TestHeaderThatTheMasterDoesNotTakeAtOnceGoesFirstLater: a fresh socket takes
// a header whole; should one not, its rest goes before the client's bytes.
func TestHeaderThatTheMasterDoesNotTakeAtOnceGoesFirstLater(t *testing.T) {
	p, err := New(Config{Listeners: []Listener{{Label: "a", Address: "127.0.0.1:0"}}, Shards: 1, SendProxy: ProxyV2}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close(fds[0])
	defer sock.Close(fds[1])
	filled := 0
	for {
		n, err := sock.Send(fds[0], make([]byte, 1000))
		if err != nil {
			break
		}
		filled += n
	}

	s := p.shards[0]
	c := s.conns.take(s.loop)
	c.label, c.state = p.labels[0], relaying
	c.epoch = c.label.current.Load()
	c.origin = &proxyproto.Origin{Source: netip.MustParseAddrPort("192.0.2.1:1"), Destination: netip.MustParseAddrPort("192.0.2.2:2")}
	c.sides[master] = side{fd: int32(fds[0]), writable: true}
	want, err := c.headerFor(ProxyV2)
	if err != nil {
		t.Fatal(err)
	}
	if !c.sendHeader(s.loop) || c.sides[master].writable || c.flows[up].rest == nil {
		t.Fatalf("after a full socket: got writable %v, rest %v; want the header kept", c.sides[master].writable, c.flows[up].rest)
	}
	if got := c.flows[up].bytes; got != 0 {
		t.Errorf("bytes up: got %d; want 0", got)
	}
	for left := filled; left > 0; {
		n, err := sock.Receive(fds[1], s.scratch[:min(left, len(s.scratch))])
		if err != nil {
			t.Fatal(err)
		}
		left -= n
	}
	c.sides[master].writable = true
	if !c.flush(s.loop, up) {
		t.Fatal("flush: got false; want everything to go")
	}
	got := make([]byte, 2*len(want))
	n, err := sock.Receive(fds[1], got)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("got %q, %v; want %q", got[:n], err, want)
	}
}
