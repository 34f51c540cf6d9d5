package workloads

import (
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/peers"
)

// looks counts a process's connections to an agent from time to time.
type looks struct {
	most     int
	err      error
	end, has chan struct{}
}

func watchConnections(p *peers.Proxy, to netip.AddrPort) *looks {
	k := &looks{end: make(chan struct{}), has: make(chan struct{})}
	go k.run(p, to)
	return k
}

func (k *looks) run(p *peers.Proxy, to netip.AddrPort) {
	defer close(k.has)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := p.Connections(to)
		if err != nil {
			k.err = err
			return
		}
		k.most = max(k.most, n)
		select {
		case <-k.end:
			return
		case <-tick.C:
		}
	}
}

// stop ends the looks and returns the most that was seen.
func (k *looks) stop() (int, error) {
	close(k.end)
	<-k.has
	return k.most, k.err
}
