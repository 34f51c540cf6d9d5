package patroni

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	askEvery   = 10 * time.Millisecond // each PostgreSQL whether it is primary
	askTimeout = time.Second
	retryPause = 50 * time.Millisecond
)

// Watch notes, beside rosproxy and without it, who holds the leader's key and
// when a node is promoted.
type Watch struct {
	cluster *Cluster
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	holders  []Change
	promoted map[*Node][]time.Time
}

// Change is a change of the leader's key.
type Change struct {
	At     time.Time // when Consul had told
	Holder *Node     // nil: nobody
}

// Watch begins to watch. Close must be called.
func (c *Cluster) Watch() *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{cluster: c, cancel: cancel, promoted: map[*Node][]time.Time{}}
	w.wg.Go(func() { w.followKey(ctx) })
	for _, n := range c.Nodes {
		w.wg.Go(func() { w.follow(ctx, n) })
	}
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.cancel()
	w.wg.Wait()
}

// Holder is who was seen to hold the key last; nil: nobody.
func (w *Watch) Holder() *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.holders) == 0 {
		return nil
	}
	return w.holders[len(w.holders)-1].Holder
}

// Lost is when a node was seen to hold the key no more, since a time; zero: it still does.
func (w *Watch) Lost(by *Node, since time.Time) time.Time {
	return w.find(since, func(holder *Node) bool { return holder != by })
}

// Held is when a node was seen to take the key, since a time; zero: it has not.
func (w *Watch) Held(by *Node, since time.Time) time.Time {
	return w.find(since, func(holder *Node) bool { return holder == by })
}

func (w *Watch) find(since time.Time, is func(*Node) bool) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.holders {
		if c.At.After(since) && is(c.Holder) {
			return c.At
		}
	}
	return time.Time{}
}

// Promoted is when a node was seen to be no standby any more, since a time; zero: it was not.
func (w *Watch) Promoted(n *Node, since time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.promoted[n] {
		if at.After(since) {
			return at
		}
	}
	return time.Time{}
}

// followKey keeps a long poll on the key.
func (w *Watch) followKey(ctx context.Context) {
	var index uint64
	var last *Node
	for first := true; ctx.Err() == nil; first = false {
		q := (&api.QueryOptions{WaitIndex: index, WaitTime: 5 * time.Second, RequireConsistent: true}).WithContext(ctx)
		pair, meta, err := w.cluster.client.KV().Get(LeaderKey, q)
		if err != nil {
			index = 0
			rest(ctx, retryPause)
			continue
		}
		if index = meta.LastIndex; index == 0 {
			rest(ctx, retryPause)
		}
		var holder *Node
		if pair != nil && pair.Session != "" {
			holder = w.cluster.Node(string(pair.Value))
		}
		if first || holder != last {
			last = holder
			w.mu.Lock()
			w.holders = append(w.holders, Change{At: time.Now(), Holder: holder})
			w.mu.Unlock()
		}
	}
}

// follow asks a node's PostgreSQL over and over.
func (w *Watch) follow(ctx context.Context, n *Node) {
	standby := false
	for ctx.Err() == nil {
		_ = w.ask(ctx, n, &standby) // it may be down
		rest(ctx, retryPause)
	}
}

// ask asks over one connection until that ends.
func (w *Watch) ask(ctx context.Context, n *Node, standby *bool) error {
	dialing, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := connect(dialing, n)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it was asked all there was to ask
	for {
		was := *standby
		if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(standby); err != nil {
			return err
		}
		if was && !*standby {
			w.mu.Lock()
			w.promoted[n] = append(w.promoted[n], time.Now())
			w.mu.Unlock()
		}
		rest(ctx, askEvery)
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
