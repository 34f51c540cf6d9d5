package proxy

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// An urgent message, which is a fence, waits for one thing at a time: here it
// comes during the first of two, and must have been run before the second.

// multicast is an address to which a connect fails at once, whatever the routes.
var multicast = Master{Address: netip.MustParseAddrPort("224.0.0.1:1")}

// closedLines is a log that calls f for each connection that is closed.
func closedLines(f func()) zerolog.Logger {
	return zerolog.New(logLines(func(line string) {
		if strings.Contains(line, "connection closed") {
			f()
		}
	}))
}

func TestUrgentMessageIsRunBetweenTwoReadyConnections(t *testing.T) {
	var s *shard
	left := -1
	closed := 0
	_, s = stopped(t, Config{LogConnections: true}, closedLines(func() {
		if closed++; closed == 1 {
			s.mail.urge(func() { left = s.counters[0].active })
		}
	}))
	for range 2 {
		c, peers := s.adopt(t, relaying)
		for which := range peers { // both have ended
			if err := unix.Shutdown(peers[which], unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
			c.sides[which].readable = true
		}
		c.enqueue(s.loop)
	}
	s.runAllReady()
	if closed != 2 || left != 1 {
		t.Errorf("closed, and left when the message that came during the first close was run: got %d, %d; want 2, 1", closed, left)
	}
}

func TestUrgentMessageIsRunBetweenTwoReleasedClients(t *testing.T) {
	testUrgentBetweenTwoDials(t, func(s *shard, c *conn) { c.queueRelease(s.loop) }, (*shard).release)
}

func TestUrgentMessageIsRunBetweenTwoDeadlines(t *testing.T) {
	testUrgentBetweenTwoDials(t, func(s *shard, c *conn) { s.timers.arm(c.index, s.now) }, (*shard).expire)
}

func testUrgentBetweenTwoDials(t *testing.T, makeDue func(*shard, *conn), step func(*shard)) {
	var s *shard
	failed := func() (n uint64) {
		for _, of := range s.counters[0].dialFailures {
			n += of
		}
		return n
	}
	atMessage := uint64(0)
	p, s := stopped(t, Config{
		HoldTimeout:   testTimeout,
		OnDialFailure: func(string, error) { s.mail.urge(func() { atMessage = failed() }) }, // once a second
	}, nopLog)
	p.labels[0].current.Store(newEpoch(1, multicast))
	for range 2 {
		c, _ := s.adopt(t, held)
		makeDue(s, c)
	}
	step(s)
	if failed() != 2 {
		t.Fatalf("failed dials: got %d; want 2", failed())
	}
	if atMessage != 1 {
		t.Errorf("dials before the message that came during the first: got %d; want 1", atMessage)
	}
}

func TestUrgentMessageIsRunBetweenTwoCloses(t *testing.T) {
	var s *shard
	left := -1
	closed := 0
	_, s = stopped(t, Config{LogConnections: true}, closedLines(func() {
		if closed++; closed == 1 {
			s.mail.urge(func() { left = s.counters[0].active })
		}
	}))
	j := &cutJob{reason: Killed, done: func(*cutJob) {}}
	for range 2 {
		c, _ := s.adopt(t, relaying)
		j.add(c)
	}
	s.start(j)
	s.workOnCuts(cutsPerIteration)
	if left != 1 {
		t.Errorf("connections left when the message that came during the first close was run: got %d; want 1", left)
	}
}

func TestUrgentMessageIsRunBetweenTwoEvents(t *testing.T) {
	var p *Proxy
	left, ended := make(chan int64, 1), 0
	p, address := runningWithLog(t, Config{Shards: 1, HoldTimeout: testTimeout, LogConnections: true}, "", closedLines(func() {
		if ended++; ended == 1 {
			p.shards[0].mail.urge(func() { left <- p.slots.used.Load() })
		}
	}))
	clients := []net.Conn{dialed(t, address), dialed(t, address)}
	inState(t, p, held, 2)
	onShard(p, 0, func(s *shard) { // which looks for events when both are there
		for _, c := range clients {
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	})
	if n := <-left; n != 1 {
		t.Errorf("connections left when the message that came during the first event was run: got %d; want 1", n)
	}
}

func TestUrgentMessageIsRunBetweenTwoAccepts(t *testing.T) {
	var s *shard
	accepted := uint64(0)
	p, s := stopped(t, Config{
		LogConnections: true, AcceptProxy: true,
		AcceptProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, // nobody who comes here
	}, closedLines(func() {
		if s.accepted == 1 {
			s.mail.urge(func() { accepted = s.accepted })
		}
	}))
	s.acceptAgain()
	for range 2 {
		dialed(t, p.listeners.sockets[0].bound.String())
	}
	eventually(t, "two accepts", func() bool { // a handshake may end a little later than connect(2)
		s.acceptFrom(0)
		return s.accepted == 2
	})
	if accepted != 1 {
		t.Errorf("accepted when the message that came with the first was run: got %d; want 1", accepted)
	}
}

// TestACutOfManyLetsOthersGoOnMeanwhile: a byte of another label's that comes
// when the first is closed is moved before the last is.
func TestACutOfManyLetsOthersGoOnMeanwhile(t *testing.T) {
	const conns = 3 * cutsPerIteration
	var p *Proxy
	var other net.Conn
	closed, moved := 0, uint64(0)
	p = servedWithLog(t, Config{
		Shards: 1, LogConnections: true,
		Listeners: []Listener{{Label: "cut", Address: "127.0.0.1:0"}, {Label: "other", Address: "127.0.0.1:0"}},
	}, closedLines(func() { // by the shard, in the midst of its work
		switch closed++; closed {
		case 1:
			if _, err := other.Write([]byte("x")); err != nil {
				t.Errorf("write: %v", err)
			}
		case conns:
			moved = p.shards[0].counters[1].bytes[up]
		}
	}))
	for _, label := range []string{"cut", "other"} {
		p.SetMaster(label, Master{Address: netip.MustParseAddrPort(echo(t))})
	}
	labels := p.Snapshot().Labels
	other = dialed(t, labels[1].Listen)
	roundTrip(t, other, []byte("x"))
	for range conns {
		dialed(t, labels[0].Listen)
	}
	inState(t, p, relaying, conns+1)
	if n, err := p.Kill("cut"); n != conns || err != nil {
		t.Fatalf("kill: got %d, %v; want %d", n, err, conns)
	}
	if moved != 2 {
		t.Errorf("bytes of the other label's when the last of %d was closed: got %d; want 2", conns, moved)
	}
}
