package workloads

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
)

// What one answer costs Consul, which is what a fleet is reckoned from.
const (
	readLeader  = "consistent read: CPU of the leader"
	readServers = "consistent read: CPU of all servers"
	readAgent   = "consistent read: CPU of the agent"
	wakeServers = "long poll that wakes: CPU of all servers"
	wakeAgent   = "long poll that wakes: CPU of the agent"
	answerSize  = "answer: from the agent"
	serverSize  = "answer: from the servers to the agent"
	keyServers  = "consistent read of a leader key: CPU of all servers"
	keyAgent    = "consistent read of a leader key: CPU of the agent"
)

var costUnits = [][2]string{
	{readLeader, "ms"}, {readServers, "ms"}, {readAgent, "ms"}, {wakeServers, "ms"}, {wakeAgent, "ms"}, {answerSize, "KB"}, {serverSize, "KB"},
}

// pollers is how many bare long polls wake for one write.
const pollers = 20

// measureCosts measures what answers cost a cluster, by asking barely.
func (l *labelled) measureCosts(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	contests, err := l.contests(ctx, unreachable)
	if err != nil {
		return err
	}
	watches := make([]*consul.Watch, pollers)
	for i := range watches {
		if watches[i], err = l.agent.Watch(ctx, "/v1/health/service/"+l.labels[0].Service, mastersQuestion); err != nil {
			return err
		}
	}
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	idle, err := l.use(ctx, func() error { return sleep(ctx, l.bench.Idle/5) })
	if err != nil {
		return err
	}
	if err := l.measureReads(ctx, watches[0], idle); err != nil {
		return err
	}
	if l.text == one {
		if err := l.measureKeyReads(ctx, idle); err != nil {
			return err
		}
	}
	return l.measureWakes(ctx, watches, contests[0], idle)
}

// use is what Consul used while do ran.
type use struct {
	consul.Usage
	took     time.Duration
	received int64
}

func (l *labelled) use(ctx context.Context, do func() error) (use, error) {
	began := time.Now()
	before, err := l.agent.Usage(ctx)
	if err != nil {
		return use{}, err
	}
	bytesBefore, err := l.agent.Received()
	if err != nil {
		return use{}, err
	}
	if err := do(); err != nil {
		return use{}, err
	}
	after, err := l.agent.Usage(ctx)
	if err != nil {
		return use{}, err
	}
	bytesAfter, err := l.agent.Received()
	return use{Usage: after.Minus(before), took: time.Since(began), received: bytesAfter - bytesBefore}, err
}

// each is the CPU time in milliseconds of one of count, less what is used when
// nothing is asked.
func (u use) each(count int, idle use, of func(use) time.Duration) float64 {
	base := float64(of(idle)) * u.took.Seconds() / idle.took.Seconds()
	return (float64(of(u)) - base) / float64(count) / 1e6
}

func ofLeader(u use) time.Duration  { return u.Leader }
func ofServers(u use) time.Duration { return u.Servers() }
func ofAgent(u use) time.Duration   { return u.Agent }

// read reads consistently, one after the other.
func (l *labelled) read(ctx context.Context, w *consul.Watch) (used use, count, size int, err error) {
	used, err = l.use(ctx, func() error {
		for end := time.Now().Add(l.bench.Idle / 5); time.Now().Before(end); count++ {
			a, err := w.ReadConsistently(ctx)
			if err != nil {
				return err
			}
			size = len(a.Body)
		}
		return nil
	})
	return used, count, size, err
}

func (l *labelled) measureReads(ctx context.Context, w *consul.Watch, idle use) error {
	used, count, size, err := l.read(ctx, w)
	if err != nil {
		return err
	}
	l.note(readLeader, used.each(count, idle, ofLeader))
	l.note(readServers, used.each(count, idle, ofServers))
	l.note(readAgent, used.each(count, idle, ofAgent))
	l.note(answerSize, float64(size)/1e3)
	l.note(serverSize, float64(used.received)/float64(count)/1e3)
	return nil
}

// measureKeyReads measures the same with a leader key, which has no labels.
func (l *labelled) measureKeyReads(ctx context.Context, idle use) error {
	session, err := l.agent.OpenSession(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = session.Destroy(context.WithoutCancel(ctx)) }() // as good as gone with the agent
	if err := session.Acquire(ctx, leaderKey, "127.0.0.1:1"); err != nil {
		return err
	}
	w, err := l.agent.Watch(ctx, "/v1/kv/"+leaderKey, nil)
	if err != nil {
		return err
	}
	used, count, _, err := l.read(ctx, w)
	if err != nil {
		return err
	}
	l.out[keyServers] = append(l.out[keyServers], used.each(count, idle, ofServers))
	l.out[keyAgent] = append(l.out[keyAgent], used.each(count, idle, ofAgent))
	return nil
}

// measureWakes lets masters of one label follow each other, in one write each.
func (l *labelled) measureWakes(ctx context.Context, watches []*consul.Watch, c *contest, idle use) error {
	writes := max(l.bench.AllElections/5, 2)
	used, err := l.use(ctx, func() error {
		for i := range writes {
			next := c.candidates[0] // at another address each time
			port := uint16(10000 + i)
			next.Address = netip.AddrPortFrom(next.Address.Addr(), port)
			named := fmt.Appendf(nil, `"Port":%d,`, port)
			var found []<-chan error
			for _, w := range watches {
				found = append(found, w.Until(func(a consul.Answer) bool { return bytes.Contains(a.Body, named) }))
			}
			if err := l.agent.Register(ctx, next, true); err != nil {
				return err
			}
			for _, f := range found {
				if err := <-f; err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.note(wakeServers, used.each(writes*len(watches), idle, ofServers))
	l.note(wakeAgent, used.each(writes*len(watches), idle, ofAgent))
	return nil
}
