package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	firstServed = "first byte from the next leader"
	bareAndRead = "bare long poll and one consistent read"

	leaderKey     = "bench/leader"
	leaderClients = 50
)

// leaders are locks that their holders lose.
func leaders() []*Workload {
	of := func(name, title string, checks []results.Check, agent func(*Bench) startAgent) *Workload {
		return &Workload{
			Name: name, Title: title,
			About: "`--leader-key` with format address and the lock required, 50 clients. From sending the order to Consul that destroys the session of the leader, with which " +
				"its key goes, until the last of its connections has ended; and from the next leader's sending the write that acquires the key until the first byte of its " +
				"own has come to one of those clients, who are back and held. The bare long poll is what Consul itself takes, without rosproxy: until a client that asks for " +
				"the key has read that it is gone, and until it has that confirmed by a consistent read.",
			Peers:  []string{peers.Rosproxy},
			Units:  [][2]string{{lastClosed, "ms"}, {barePoll, "ms"}, {bareAndRead, "ms"}, {firstServed, "ms"}, {ofWrite, "ms"}},
			Checks: checks,
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return loseLeaders(ctx, b, peer, agent(b))
			},
			Limit: 2 * time.Minute, Consul: true,
		}
	}
	return []*Workload{
		of("leader-key", "Loss of a leader's lock (a dev agent)", []results.Check{{Figure: lastClosed, Limit: 10}},
			func(b *Bench) startAgent { return b.Dev }),
		of("leader-key-cluster", "Loss of a leader's lock (three servers, a client agent)", nil,
			func(b *Bench) startAgent { return b.Cluster }),
	}
}

func loseLeaders(ctx context.Context, b *Bench, peer string, start startAgent) (Samples, error) {
	agent, err := start(ctx)
	if err != nil {
		return nil, err
	}
	out := Samples{}
	if err := measureKeyFloor(ctx, b, agent, out); err != nil {
		return out, fmt.Errorf("bare long poll: %w", err)
	}
	r, err := b.newRig(ctx)
	if err != nil {
		return out, err
	}
	defer r.close()
	var addresses [2]string
	for i := range addresses {
		g, err := r.echo(i, byte(i+1))
		if err != nil {
			return out, err
		}
		addresses[i] = g.Address
	}
	t := term{agent: agent, addresses: addresses}
	if t.session, err = agent.OpenSession(ctx); err != nil {
		return out, err
	}
	defer func() { _ = t.session.Destroy(context.WithoutCancel(ctx)) }() // the next round begins without a leader
	if err := t.session.Acquire(ctx, leaderKey, addresses[0]); err != nil {
		return out, err
	}
	if err := r.start(ctx, peer, peers.Options{Consul: agent.HTTP, LeaderKey: leaderKey}); err != nil {
		return out, err
	}
	if t.clients, err = r.hold(ctx, leaderClients, true); err != nil {
		return out, err
	}
	for i := range b.Elections {
		if err := sleepAbout(ctx, 100*time.Millisecond); err != nil {
			return out, err
		}
		if err := t.change(ctx, out); err != nil {
			return out, fmt.Errorf("loss %d: %w", i+1, err)
		}
	}
	return out, nil
}

// term is a leader's time with the lock.
type term struct {
	agent     *consul.Agent
	addresses [2]string // of the leader and of the next one
	leader    int
	session   *consul.Session
	clients   *load.Group
}

// change ends the term and begins the other's.
func (t *term) change(ctx context.Context, out Samples) error {
	clock, err := load.NewClock()
	if err != nil {
		return err
	}
	next := 1 - t.leader
	if _, err := t.clients.Mark(byte(next + 1)); err != nil {
		return err
	}
	session, err := t.agent.OpenSession(ctx)
	if err != nil {
		return err
	}
	at := clock.Now()
	if err := t.session.Destroy(ctx); err != nil {
		return err
	}
	written := clock.Now()
	s, err := t.clients.Await(ctx, cutPatience, func(s *load.Stats) bool { return s.Closed >= leaderClients })
	if err != nil {
		return err
	}
	out[ofWrite] = append(out[ofWrite], milli(written-at))
	out[lastClosed] = append(out[lastClosed], milli(s.LastClosed-at))
	t.session, t.leader = session, next
	acquired := clock.Now()
	if err := session.Acquire(ctx, leaderKey, t.addresses[next]); err != nil {
		return err
	}
	s, err = t.clients.Await(ctx, cutPatience, func(s *load.Stats) bool { return s.Served >= leaderClients })
	if err != nil {
		return err
	}
	out[firstServed] = append(out[firstServed], milli(s.FirstServed-acquired))
	return nil
}

// measureKeyFloor measures the same losses without rosproxy.
func measureKeyFloor(ctx context.Context, b *Bench, agent *consul.Agent, out Samples) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := agent.Watch(ctx, "/v1/kv/"+leaderKey, nil)
	if err != nil {
		return err
	}
	for range b.Elections {
		session, err := agent.OpenSession(ctx)
		if err != nil {
			return err
		}
		if err := session.Acquire(ctx, leaderKey, "127.0.0.1:1"); err != nil {
			return err
		}
		if err := sleepAbout(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		found := w.Until(func(a consul.Answer) bool { return a.Status == http.StatusNotFound })
		began := time.Now()
		if err := session.Destroy(ctx); err != nil {
			return err
		}
		if err := <-found; err != nil {
			return err
		}
		polled := time.Since(began)
		if _, err := w.ReadConsistently(ctx); err != nil {
			return err
		}
		out[barePoll] = append(out[barePoll], milli(int64(polled)))
		out[bareAndRead] = append(out[bareAndRead], milli(int64(time.Since(began))))
	}
	return nil
}

// sleepAbout waits for half of d to one and a half.
func sleepAbout(ctx context.Context, d time.Duration) error {
	return sleep(ctx, d/2+time.Duration(rand.Int64N(int64(d))))
}
