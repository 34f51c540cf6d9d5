package proxy_test

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestClientsThatDoNotReadTakeBoundedMemory: what they are owed waits in the
// kernel, whose buffers are bounded, and with its source. All of it comes when
// they read.
func TestClientsThatDoNotReadTakeBoundedMemory(t *testing.T) {
	noLeaks(t)
	const n, buffer = 400, 16 << 10 // more than there are places for what a client does not take
	c := config()
	c.SocketBuffer = buffer
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	var clients, masters [n]*net.TCPConn
	for i := range n {
		clients[i], masters[i] = r.pair(m)
		smallBuffer(t, clients[i])
		if err := masters[i].SetWriteBuffer(buffer); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	sent := make([]int, n)
	each(n, func(i int) (err error) {
		sent[i], err = sendUntilBlocked(masters[i], &pattern{at: i}, atOnce(32<<10))
		return err
	}, t)
	if grown := int64(heap()) - int64(before); grown > n<<10 {
		t.Errorf("heap: grew by %d bytes for %d clients that do not read; want %d at most", grown, n, n<<10)
	}
	for i, got := range sent {
		if most := 16 * buffer; got > most { // four buffers of ours, of twice that, and the peers'
			t.Errorf("client %d is owed %d bytes; want the buffers to be full with %d at most", i, got, most)
		}
	}
	each(n, func(i int) error {
		var g errgroup.Group
		g.Go(func() error { return receiveAll(clients[i], &pattern{at: i}, sent[i], atOnce(1<<16)) })
		g.Go(masters[i].CloseWrite)
		return g.Wait()
	}, t)
}

// each does f for 0 to n-1, all at once.
func each(n int, f func(i int) error, t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}
