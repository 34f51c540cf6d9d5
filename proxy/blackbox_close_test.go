package proxy_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// eitherWay runs f with the client as the first to act, and with the master.
func eitherWay(t *testing.T, f func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool)) {
	for _, clientFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("clientFirst=%v", clientFirst), func(t *testing.T) {
			noLeaks(t)
			r := newProxy(t, config())
			m := newMaster(t, nil)
			r.set(m.addr)
			first, second := r.pair(m)
			if !clientFirst {
				first, second = second, first
			}
			f(t, r, first, second, clientFirst)
		})
	}
}

// pick is the reason of the side that acted first.
func pick(clientFirst bool, client, master proxy.Reason) map[proxy.Reason]uint64 {
	if clientFirst {
		return map[proxy.Reason]uint64{client: 1}
	}
	return map[proxy.Reason]uint64{master: 1}
}

func TestHalfCloseArrivesAndTheOtherSideMayStillAnswer(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		write(t, first, "question")
		if err := first.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if data, how := ending(second); string(data) != "question" || how != byFIN {
			t.Fatalf("what came before the half-close: got %q, then %s; want %q, then %s", data, how, "question", byFIN)
		}
		for range 3 {
			passes(t, second, first, "answer")
		}
		r.waitActive(1)
		if err := second.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, "half-closed side", first, byFIN)
		r.wantClosed(pick(clientFirst, proxy.ClientClosed, proxy.MasterClosed))
	})
}

func TestBothSidesMayCloseAtOnce(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	const connections = 50
	for range connections {
		client, server := r.pair(m)
		var g errgroup.Group
		for _, c := range []*net.TCPConn{client, server} {
			g.Go(func() error {
				return exchange(c, &pattern{}, &pattern{}, 1000, atOnce(1000), atOnce(1000))
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		client.Close()
		server.Close()
	}
	r.waitActive(0)
	r.wantBytes(connections*1000, connections*1000)
	if c := r.state().Closed; c[proxy.ClientClosed]+c[proxy.MasterClosed] != connections {
		t.Errorf("closed: got %d by client, %d by master; want %d together",
			c[proxy.ClientClosed], c[proxy.MasterClosed], connections)
	}
}

// TestDataAndFINInOneSegment is where an edge-triggered loop that stops at
// "closed" loses the data, or one that stops at "data" never sees the end.
func TestDataAndFINInOneSegment(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	for i := range 200 {
		from, to := r.pair(m)
		if i%2 == 1 {
			from, to = to, from
		}
		cork(t, from)
		text := fmt.Sprintf("message %d", i)
		write(t, from, text)
		if err := from.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if data, how := ending(to); string(data) != text || how != byFIN {
			t.Fatalf("connection %d: got %q, then %s; want %q, then %s", i, data, how, text, byFIN)
		}
		to.Close()
		wantEnd(t, "first", from, byFIN)
		from.Close()
	}
	r.waitActive(0)
}

// cork holds what is written until the FIN goes with it.
func cork(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1); err != nil {
			t.Fatalf("set TCP_CORK: %v", err)
		}
	})
}

func TestFINWaitsForEverythingBeforeIt(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		second.SetReadBuffer(16 << 10)
		const size = 12 << 20
		var g errgroup.Group
		g.Go(func() error {
			if err := send(first, &pattern{}, size, atOnce(1<<18)); err != nil {
				return err
			}
			return first.CloseWrite()
		})
		slow := slowly(rand.New(rand.NewPCG(5, 6)), atOnce(64<<10))
		g.Go(func() error { return receiveAll(second, &pattern{}, size, slow) })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		passes(t, second, first, "still open this way")
	})
}

// TestCloseWithEverythingSentLosesNothing has the writer gone, not only half-closed.
func TestCloseWithEverythingSentLosesNothing(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		const size = 8 << 20
		var g errgroup.Group
		g.Go(func() error {
			if err := send(first, &pattern{}, size, atOnce(1<<16)); err != nil {
				return err
			}
			return first.Close()
		})
		g.Go(func() error { return receiveAll(second, &pattern{}, size, atOnce(1<<16)) })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		second.Close()
		r.wantClosed(pick(clientFirst, proxy.ClientClosed, proxy.MasterClosed))
	})
}

func TestResetOnOneSideResetsTheOther(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		relays(t, first, second)
		reset(t, first)
		wantEnd(t, "other side", second, byRST)
		r.wantClosed(pick(clientFirst, proxy.ClientReset, proxy.MasterReset))
	})
}

func TestResetBehindQueuedDataResetsTheOther(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		if _, err := sendUntilBlocked(first, &pattern{}, atOnce(1<<17)); err != nil {
			t.Fatal(err)
		}
		reset(t, first)
		data, how := ending(second)
		if how != byRST {
			t.Fatalf("end after %d bytes: got %s; want %s", len(data), how, byRST)
		}
		if err := (&pattern{}).verify(data); err != nil {
			t.Errorf("bytes before the reset: %v", err)
		}
		r.wantClosed(pick(clientFirst, proxy.ClientReset, proxy.MasterReset))
		waitEqual(t, "pipes in use", 0, func() int { return r.state().PipesInUse })
	})
}

// TestResetOfTheReaderResetsTheWriter has data on its way to the side that resets.
func TestResetOfTheReaderResetsTheWriter(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		if _, err := sendUntilBlocked(second, &pattern{}, atOnce(1<<17)); err != nil {
			t.Fatal(err)
		}
		reset(t, first)
		r.wantClosed(pick(clientFirst, proxy.ClientReset, proxy.MasterReset))
		wantEnd(t, "writer", second, byRST)
	})
}

// TestResetAfterHalfCloseResetsTheOther has the connection open one way only.
func TestResetAfterHalfCloseResetsTheOther(t *testing.T) {
	eitherWay(t, func(t *testing.T, r *relay, first, second *net.TCPConn, clientFirst bool) {
		if err := second.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, "first side", first, byFIN) // so the proxy has forwarded it
		passes(t, first, second, "this way is open")
		reset(t, first)
		wantEnd(t, "half-closed side", second, byRST)
	})
}

// TestAnswerToAClientThatHalfClosedBeforeThereWasAMaster is `echo question | nc proxy`.
func TestAnswerToAClientThatHalfClosedBeforeThereWasAMaster(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	client := r.dial()
	write(t, client, "question")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r.waitHeld(1)
	m := newMaster(t, func(c *net.TCPConn) {
		question, _ := io.ReadAll(c)
		fmt.Fprintf(c, "answer to %s", question)
	})
	r.set(m.addr)
	if data, how := ending(client); string(data) != "answer to question" || how != byFIN {
		t.Errorf("answer: got %q, then %s; want %q, then %s", data, how, "answer to question", byFIN)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientClosed: 1})
}
