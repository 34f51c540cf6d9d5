package workloads

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/load"
)

// electedLabels is how many labels have clients and elections.
const electedLabels = 10

// contest is a label whose master changes.
type contest struct {
	candidates [2]consul.Candidate
	master     int // which of them it is
	clients    *load.Group
}

// elections makes one election after the other, in turn of all contests.
func (l *labelled) elections(ctx context.Context, contests []*contest, one func(election) error) error {
	for i := range l.bench.AllElections {
		// Whoever wakes for each of an election's writes needs time for both.
		if err := sleepAbout(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		c := contests[i%len(contests)]
		from := c.master
		c.master = 1 - from
		e := election{
			agent: l.agent, clients: c.clients, from: c.candidates[from], to: c.candidates[c.master], id: byte(c.master + 1),
			untagFirst: i/len(contests)%2 == 0,
		}
		if err := one(e); err != nil {
			return fmt.Errorf("election %d: %w", i+1, err)
		}
	}
	return nil
}

// contests makes a slave for each of some labels, evenly chosen. addressOf is
// where the candidates are.
func (l *labelled) contests(ctx context.Context, addressOf func(i int) (netip.AddrPort, error)) ([]*contest, error) {
	var all []*contest
	count := min(electedLabels, len(l.labels))
	for i := range count {
		label := l.labels[i*(len(l.labels)-1)/max(count-1, 1)]
		c := &contest{}
		for k, suffix := range []string{"-a", "-b"} {
			at, err := addressOf(2*i + k)
			if err != nil {
				return nil, err
			}
			c.candidates[k] = consul.Candidate{ID: label.Service + "-" + label.Name + suffix, Address: at, Of: &label}
			if err := l.agent.Register(ctx, c.candidates[k], k == 0); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// measureElections measures the cut of one label of all.
func (l *labelled) measureElections(ctx context.Context, r *rig) error {
	contests, err := l.contests(ctx, func(i int) (netip.AddrPort, error) {
		g, err := r.echo(i, byte(i%2+1))
		if err != nil {
			return netip.AddrPort{}, err
		}
		return netip.ParseAddrPort(g.Address)
	})
	if err != nil {
		return err
	}
	for i, c := range contests {
		at := r.proxy.Labels[i*(len(l.labels)-1)/max(len(contests)-1, 1)]
		if c.clients, err = r.holdAt(ctx, at, electors, true); err != nil {
			return err
		}
	}
	return l.elections(ctx, contests, func(e election) error {
		figures := Samples{}
		if err := e.run(ctx, figures); err != nil {
			return err
		}
		l.note(lastClosed, figures[lastClosed][0])
		return nil
	})
}

// measureFloor measures the same elections without rosproxy.
func (l *labelled) measureFloor(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	contests, err := l.contests(ctx, unreachable)
	if err != nil {
		return err
	}
	w, err := l.agent.Watch(ctx, "/v1/health/service/"+l.labels[0].Service, mastersQuestion)
	if err != nil {
		return err
	}
	clock, err := load.NewClock()
	if err != nil {
		return err
	}
	return l.elections(ctx, contests, func(e election) error {
		named := []byte(`"` + e.to.ID + `"`)
		found := w.Until(func(a consul.Answer) bool { return bytes.Contains(a.Body, named) })
		at, _, err := e.write(ctx)
		if err != nil {
			return err
		}
		if err := <-found; err != nil {
			return err
		}
		l.note(barePoll, milli(clock.Now()-at))
		return nil
	})
}

// mastersQuestion is what rosproxy asks about all masters of a service.
var mastersQuestion = url.Values{"tag": {"role=master"}, "passing": {"1"}, "near": {"_agent"}}

// unreachable is where candidates are that nobody connects to.
func unreachable(i int) (netip.AddrPort, error) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 251, 0, byte(i + 1)}), 7800), nil
}
