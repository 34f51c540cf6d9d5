package proxy_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/rosproxy/rosproxy/proxy"
)

// crowd is a proxy in this process whose clients and masters are in others,
// so that the descriptors, goroutines and memory of this one are the proxy's.
type crowd struct {
	*relay
	clients, masters *child
	addrs            [2]netip.AddrPort // of two masters
}

const warmUpClients = 8

func newCrowd(t *testing.T, maxConns int) *crowd {
	c := config()
	c.MaxConns = maxConns
	w := &crowd{clients: newChild(t, "clients"), masters: newChild(t, "masters")}
	for i := range w.addrs {
		w.addrs[i] = netip.MustParseAddrPort(w.masters.ask("listen"))
	}
	w.relay = newProxy(t, c)
	w.set(w.addrs[0])
	w.come(warmUpClients) // so that everything runs, and has what it keeps
	w.clients.want("done", "reset")
	w.waitActive(0)
	w.masters.want(fmt.Sprintf("map[reset:%d]", warmUpClients), "end 0")
	return w
}

// come connects n clients and waits until each has its master's greeting.
func (w *crowd) come(n int) {
	w.t.Helper()
	w.clients.want(fmt.Sprint(n), "connect %s %d", w.relay.addrs["default"], n)
	w.waitActive(n)
}

// use is what a process uses. Not its resident memory: that has grown with what
// a round leaves to the collector, which comes late on a busy machine.
type use struct {
	files, goroutines int
	heap              int64
}

func measure(t testing.TB) (u use) {
	t.Helper()
	u.files, u.goroutines = len(openFiles(t)), runtime.NumGoroutine()
	heap() // what was pooled takes two collections
	u.heap = int64(heap())
	return u
}

func TestIdleConnectionIsTwoDescriptorsAndNoGoroutine(t *testing.T) {
	noLeaks(t)
	const n = 500
	w := newCrowd(t, 0)
	before := measure(t)
	w.come(n)
	u := measure(t)
	if files := u.files - before.files; files != 2*n {
		t.Errorf("descriptors of %d connections: got %d; want %d", n, files, 2*n)
	}
	if u.goroutines > before.goroutines {
		t.Errorf("goroutines of %d connections: got %d; want 0", n, u.goroutines-before.goroutines)
	}
	w.clients.want("done", "reset")
	w.waitActive(0)
	w.masters.want(fmt.Sprintf("map[reset:%d]", n), "end 0")
}

// TestTenFailoversOfEightThousandConnections cuts all of them each time, and
// in the end the process is as it was.
func TestTenFailoversOfEightThousandConnections(t *testing.T) {
	n, rounds := 8000, 10
	if testing.Short() {
		n, rounds = 1000, 3
	}
	noLeaks(t)
	w := newCrowd(t, n)
	idle := measure(t)
	var early use
	for round := range rounds {
		old, young := round%2, (round+1)%2
		w.come(n)
		if round == 0 {
			if u := measure(t); u.files-idle.files != 2*n || u.goroutines > idle.goroutines {
				t.Errorf("descriptors, goroutines of %d connections: got %d, %d; want %d, 0",
					n, u.files-idle.files, u.goroutines-idle.goroutines, 2*n)
			}
		}
		cut := w.set(w.addrs[young])
		if active := w.Active(); active != 0 {
			t.Errorf("round %d: active when SetMaster returned: got %d; want 0", round, active)
		}
		wantNoSockets(t, w.addrs[old])
		if cut.Dropped != n {
			t.Errorf("round %d: dropped: got %d; want %d", round, cut.Dropped, n)
		}
		resets := fmt.Sprintf("map[reset:%d]", n)
		w.clients.want(resets, "end")
		w.masters.want(resets, "end %d", old)
		if round == 1 {
			early = measure(t) // buffers and slabs have their size by now
		}
	}
	w.wantClosed(map[proxy.Reason]uint64{proxy.ClientReset: warmUpClients, proxy.Failover: uint64(n * rounds)})
	waitEqual(t, "descriptors", idle.files, func() int { return len(openFiles(t)) })
	late := measure(t)
	if late.goroutines != idle.goroutines {
		t.Errorf("goroutines: got %d; want %d", late.goroutines, idle.goroutines)
	}
	if grown := late.heap - early.heap; grown > 4<<20 {
		t.Errorf("heap: grew by %d bytes from round 2 to %d; want none", grown, rounds)
	}
	wantSums(t, w.relay)
}
