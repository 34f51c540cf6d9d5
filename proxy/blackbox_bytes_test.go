package proxy_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantBytes waits until the counters of "default" are exact.
func (r *relay) wantBytes(up, down uint64) {
	r.t.Helper()
	waitEqual(r.t, "bytes up and down", [2]uint64{up, down}, func() [2]uint64 {
		s := r.state()
		return [2]uint64{s.BytesUp, s.BytesDown}
	})
}

// TestIntegrityCheckerAcceptsADirectConnection keeps the tests below honest:
// what they do passes without a proxy.
func TestIntegrityCheckerAcceptsADirectConnection(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, nil)
	client, err := dialTCP(m.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	exchangeBothEnds(t, client, m.next(), 1<<20, atOnce(10000), atOnce(10000))
}

// TestIntegrityCheckerSeesOneWrongByte keeps the tests below honest: they can fail.
func TestIntegrityCheckerSeesOneWrongByte(t *testing.T) {
	p := &pattern{at: 5}
	b := append([]byte(nil), p.next(1000)...)
	b[700] ^= 1
	if err := (&pattern{at: 5}).verify(b); err == nil {
		t.Error("verify of a wrong byte: got nil; want an error")
	}
}

func exchangeBothEnds(t *testing.T, client, server *net.TCPConn, n int, writes, reads sizes) {
	t.Helper()
	var g errgroup.Group
	g.Go(func() error { return exchange(client, &pattern{}, &pattern{at: 500}, n, writes, reads) })
	g.Go(func() error { return exchange(server, &pattern{at: 500}, &pattern{}, n, writes, reads) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// manner is how one connection of many behaves.
type manner struct {
	bytes       int
	write, read func(*rand.Rand) sizes
	buffer      int // socket buffers; 0: the kernel's choice
}

var manners = []manner{
	{1 << 20, fast(1 << 16), fast(1 << 16), 0},
	{1 << 20, fast(1 << 16), slow(1 << 14), 64 << 10},
	{1 << 20, slow(1 << 14), fast(1 << 16), 0},
	{1 << 17, fast(100), fast(1 << 16), 0},
	{1 << 17, slow(2000), slow(500), 64 << 10},
}

func fast(n int) func(*rand.Rand) sizes {
	return func(rng *rand.Rand) sizes { return upTo(rng, n) }
}

func slow(n int) func(*rand.Rand) sizes {
	return func(rng *rand.Rand) sizes { return slowly(rng, upTo(rng, n)) }
}

// end runs one end of connection id; its other end runs with up the other way round.
func (m manner) end(c *net.TCPConn, id byte, up bool) error {
	if m.buffer > 0 {
		c.SetReadBuffer(m.buffer)
		c.SetWriteBuffer(m.buffer)
	}
	out, in := &pattern{at: 1000 * int(id)}, &pattern{at: 1000*int(id) + 500}
	if !up {
		out, in = in, out
	}
	write := m.write(rand.New(rand.NewPCG(uint64(id), 1)))
	read := m.read(rand.New(rand.NewPCG(uint64(id), 2)))
	if err := exchange(c, out, in, m.bytes, write, read); err != nil {
		return fmt.Errorf("connection %d, client %v: %w", id, up, err)
	}
	return nil
}

func TestEveryByteArrivesInOrderBothWaysAtOnce(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	const connections = 60
	served := make(chan error, connections)
	m := newMaster(t, func(c *net.TCPConn) {
		id := make([]byte, 1)
		if _, err := io.ReadFull(c, id); err != nil {
			served <- fmt.Errorf("master: read id: %w", err)
			return
		}
		served <- manners[int(id[0])%len(manners)].end(c, id[0], false)
	})
	r.set(m.addr)

	var g errgroup.Group
	var sum uint64
	for id := range byte(connections) {
		how := manners[int(id)%len(manners)]
		sum += uint64(how.bytes)
		c := r.dial()
		g.Go(func() error {
			if _, err := c.Write([]byte{id}); err != nil {
				return err
			}
			return how.end(c, id, true)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for range connections {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	r.waitActive(0)
	r.wantBytes(sum+connections, sum)
}

func TestBulkIsSplicedIntactAndCounted(t *testing.T) {
	const size = 64 << 20
	for _, way := range []struct {
		name     string
		up, down int
	}{{"up", size, 0}, {"down", 0, size}, {"both", size, size}} {
		t.Run(way.name, func(t *testing.T) {
			noLeaks(t)
			r := newProxy(t, config())
			m := newMaster(t, nil)
			r.set(m.addr)
			client, server := r.pair(m)

			var g errgroup.Group
			stream := func(from, to *net.TCPConn, n, at int) {
				g.Go(func() error {
					if err := send(from, &pattern{at: at}, n, atOnce(1<<18)); err != nil {
						return err
					}
					return from.CloseWrite()
				})
				g.Go(func() error { return receiveAll(to, &pattern{at: at}, n, atOnce(1<<18)) })
			}
			stream(client, server, way.up, 1)
			stream(server, client, way.down, 2)
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			r.wantBytes(uint64(way.up), uint64(way.down))
			r.waitActive(0)
			s := r.state()
			if s.SplicedBytes == 0 || s.SplicedBytes > s.BytesUp+s.BytesDown {
				t.Errorf("spliced bytes: got %d; want 1 to %d", s.SplicedBytes, s.BytesUp+s.BytesDown)
			}
			if s.PipesInUse != 0 || s.PipeFallbacks != 0 {
				t.Errorf("pipes in use, fallbacks: got %d, %d; want 0, 0", s.PipesInUse, s.PipeFallbacks)
			}
		})
	}
}

// TestSmallAndLargeTakeTurns goes from copying to splicing and back, many times.
func TestSmallAndLargeTakeTurns(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)

	const turns, large = 6, 4 << 20
	up, down := &pattern{}, &pattern{at: 500}
	upSeen, downSeen := *up, *down
	pass := func(from, to *net.TCPConn, out, in *pattern, n int) {
		t.Helper()
		var g errgroup.Group
		g.Go(func() error { return send(from, out, n, atOnce(1<<17)) })
		if err := receive(to, in, n, atOnce(1<<18)); err != nil {
			t.Fatal(err)
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for range turns {
		for size := 1; size < 100; size++ {
			pass(client, server, up, &upSeen, size)
			pass(server, client, down, &downSeen, 100-size)
		}
		pass(client, server, up, &upSeen, large)
		waitEqual(t, "pipes in use after a stream", 0, func() int { return r.state().PipesInUse })
		pass(server, client, down, &downSeen, large)
	}
	r.wantBytes(uint64(up.at), uint64(down.at-500))
	if s := r.state(); s.SplicedBytes == 0 {
		t.Errorf("spliced bytes: got 0; want some of %d", s.BytesUp+s.BytesDown)
	}
}

// TestStalledReaderBlocksTheSender stalls each side, in the middle of a stream
// and from its first byte, and then lets it read on.
func TestStalledReaderBlocksTheSender(t *testing.T) {
	for _, up := range []bool{true, false} {
		for _, before := range []int{0, 8 << 20} {
			t.Run(fmt.Sprintf("up=%v after %d bytes", up, before), func(t *testing.T) {
				noLeaks(t)
				r := newProxy(t, config())
				m := newMaster(t, nil)
				r.set(m.addr)
				from, to := r.pair(m)
				if !up {
					from, to = to, from
				}
				sent, seen := &pattern{}, &pattern{}
				var g errgroup.Group
				g.Go(func() error { return send(from, sent, before, atOnce(1<<18)) })
				if err := receive(to, seen, before, atOnce(1<<18)); err != nil {
					t.Fatal(err)
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				if _, err := sendUntilBlocked(from, sent, atOnce(1<<16)); err != nil {
					t.Fatal(err)
				}

				const more = 4 << 20
				total := sent.at + more
				g.Go(func() error {
					if err := send(from, sent, more, atOnce(1<<16)); err != nil {
						return err
					}
					return from.CloseWrite()
				})
				if err := receiveAll(to, seen, total-seen.at, atOnce(1<<16)); err != nil {
					t.Fatal(err)
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				waitEqual(t, "bytes moved", uint64(total), func() uint64 { s := r.state(); return s.BytesUp + s.BytesDown })
			})
		}
	}
}

func TestStalledReadersDoNotFillTheProxysMemory(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	before := heap()
	const connections, perConnection = 24, 512 << 10
	var g errgroup.Group
	for range connections {
		client, server := r.pair(m)
		server.SetReadBuffer(16 << 10)
		g.Go(func() error {
			_, err := sendUntilBlocked(client, &pattern{}, atOnce(1<<18))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if grown := int64(heap()) - int64(before); grown > connections*perConnection {
		t.Errorf("heap: grew by %d bytes for %d stalled connections; want at most %d each", grown, connections, perConnection)
	}
	r.Kill("")
	r.wantClosed(map[proxy.Reason]uint64{proxy.Killed: connections})
	waitEqual(t, "pipes in use", 0, func() int { return r.state().PipesInUse })
}

// TestBytesOfAConnectionThatIsOverReachNobodyElse cuts streams that are stuck
// in the proxy, and then uses again whatever they were stuck in.
func TestBytesOfAConnectionThatIsOverReachNobodyElse(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	var g errgroup.Group
	for range 8 {
		client, _ := r.pair(m)
		g.Go(func() error {
			_, err := sendUntilBlocked(client, &pattern{}, atOnce(1<<18))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if s := r.state(); s.PipesInUse == 0 {
		t.Errorf("pipes in use by streams that are stuck: got 0; want some")
	}
	r.Kill("")
	waitEqual(t, "pipes in use", 0, func() int { return r.state().PipesInUse })
	for range 8 {
		client, server := r.pair(m)
		exchangeBothEnds(t, client, server, 4<<20, atOnce(1<<18), atOnce(1<<18))
	}
}

// heap is the number of bytes that live on Go's heap.
func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestTinySegmentsWaitForASlowReader fills a pipe in slots long before it is
// full in bytes: sixteen segments of any size fill a pipe of 64 KiB.
func TestTinySegmentsWaitForASlowReader(t *testing.T) {
	tiny := func() sizes { return upTo(rand.New(rand.NewPCG(1, 2)), 100) }
	for _, up := range []bool{true, false} {
		for _, first := range []struct {
			name string
			size sizes
		}{{"after tiny ones", tiny()}, {"after a stream", atOnce(1 << 18)}} {
			t.Run(fmt.Sprintf("up=%v %s", up, first.name), func(t *testing.T) {
				noLeaks(t)
				r := newProxy(t, config())
				m := newMaster(t, nil)
				r.set(m.addr)
				from, to := r.pair(m)
				if !up {
					from, to = to, from
				}
				to.SetReadBuffer(64 << 10)
				sent, seen := &pattern{}, &pattern{}
				if _, err := sendUntilBlocked(from, sent, first.size); err != nil {
					t.Fatal(err)
				}
				var g errgroup.Group
				g.Go(func() error {
					if err := send(from, sent, 1<<20, tiny()); err != nil {
						return err
					}
					return from.CloseWrite()
				})
				if err := receiveUntilEnd(to, seen, slowly(rand.New(rand.NewPCG(3, 4)), atOnce(8<<10))); err != nil {
					t.Fatal(err)
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				if seen.at != sent.at {
					t.Errorf("bytes received: got %d; want %d", seen.at, sent.at)
				}
			})
		}
	}
}

// receiveUntilEnd verifies what comes until the end of the stream.
func receiveUntilEnd(r io.Reader, p *pattern, size sizes) error {
	buf := make([]byte, 1<<16)
	for {
		n, err := r.Read(buf[:size()])
		if bad := p.verify(buf[:n]); bad != nil {
			return bad
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
}
