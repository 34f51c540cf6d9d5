package consul

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Usage is CPU time since the start.
type Usage struct {
	All    time.Duration // of all of Consul's processes
	Agent  time.Duration // of the one that is asked
	Leader time.Duration // of the leader; without a cluster it is the agent
}

// Minus is what was used since before.
func (u Usage) Minus(before Usage) Usage {
	return Usage{All: u.All - before.All, Agent: u.Agent - before.Agent, Leader: u.Leader - before.Leader}
}

// Usage reads the CPU time of Consul's processes.
func (a *Agent) Usage(ctx context.Context) (Usage, error) {
	leader, err := a.leader(ctx)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for i, p := range a.processes {
		t, err := p.CPU()
		if err != nil {
			return Usage{}, err
		}
		u.All += t
		if i == leader {
			u.Leader = t
		}
		u.Agent = t // the last is the agent
	}
	return u, nil
}

// Servers is the CPU time of those that are not the agent.
func (u Usage) Servers() time.Duration { return u.All - u.Agent }

// Received is how many bytes the agent has got from whomever: of a client agent
// nearly all are answers of its servers.
func (a *Agent) Received() (int64, error) {
	return a.processes[len(a.processes)-1].Received()
}

// leader is the number of the leader's process.
func (a *Agent) leader(ctx context.Context) (int, error) {
	var address string
	if err := a.call(ctx, http.MethodGet, "/v1/status/leader", nil, &address); err != nil {
		return 0, fmt.Errorf("ask consul for its leader: %w", err)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, fmt.Errorf("ask consul for its leader: %w", err)
	}
	i := slices.Index(a.servers, int(at.Port()))
	if i < 0 {
		return 0, fmt.Errorf("ask consul for its leader: %s is none of its servers %v", address, a.servers)
	}
	return i, nil
}
