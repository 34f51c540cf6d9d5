package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// Election is one that proxies are to obey, and where they report that they have.
type Election struct {
	Addresses  []string // as discovery.Config.Addresses
	Datacenter string   // empty: the agent's own

	Prefix    string // of the reports
	Label     string
	Index     uint64 // the raft index of the election; 0: that of LeaderKey
	LeaderKey string // the key that the one who was elected holds

	Timeout time.Duration       // 0: the longest TTL of a report of the label, and 10s
	Waiting func([]FenceBehind) // is told of those that are waited for, whenever they have been read; nil: nobody is
}

// validate finds what no retry can fix.
func (e Election) validate() error {
	if err := discovery.CheckReportPrefix(e.Prefix); err != nil {
		return fmt.Errorf("fence reports below %s: %w", text.Quoted(e.Prefix), err)
	}
	switch {
	case e.Label == "":
		return errors.New("no label is named")
	case e.Timeout < 0:
		return fmt.Errorf("a duration of %v is below zero", e.Timeout)
	case (e.Index == 0) == (e.LeaderKey == ""):
		return errors.New("either the index of the election or the leader key must be named")
	case e.LeaderKey != "":
		if err := discovery.CheckLeaderKey(e.LeaderKey, discovery.AddressFormat); err != nil {
			return fmt.Errorf("leader key %s: %w", text.Quoted(e.LeaderKey), err)
		}
	}
	return nil
}

// FenceBehind is a report that has not obeyed an election yet.
type FenceBehind struct {
	Key       string
	Instance  string // empty: the entry cannot be understood, and the next two are not known
	PID       int
	Obeyed    uint64        // raft index
	Unchanged time.Duration // for how long at least it has been the same
	Why       string        // for people
}

// FenceError says that reports were still behind when the time was up.
type FenceError struct {
	Label   string
	Index   uint64 // of the election
	After   time.Duration
	Behind  []FenceBehind // in the order of their keys, when they were read last
	Trouble error         // why they have not been read since; nil: they have
}

func (e *FenceError) Error() string {
	return fmt.Sprintf("after %v there are reports of the label %s, %d of them, that have not obeyed the election of index %d",
		e.After.Round(time.Millisecond), text.Quoted(e.Label), len(e.Behind), e.Index)
}

// FenceWait waits until every process that reports for a label has obeyed an
// election, or is dead, as package fence says: then no client gets anything more
// from a master that was elected before.
type FenceWait struct{ state *fenceWait }

// NewFenceWait prepares to wait; nothing is asked before Await. It fails for what
// no retry can fix, as discovery.NewConsul does, and takes the same variables from the
// environment.
func NewFenceWait(e Election) (*FenceWait, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	agents, err := consul.NewClients(e.Addresses, hostname.SystemLookup)
	if err != nil {
		return nil, err
	}
	return &FenceWait{newFenceWait(e, agents)}, nil
}

// Await returns nil when the election has been obeyed, at once when nobody
// reports. It may be called once.
//
// It fails with a *FenceError when the time is up, and at once where waiting is in
// vain: nobody holds the leader key, or the token may not see the reports. A Consul
// that does not answer is waited for as long as the reports are.
func (w *FenceWait) Await(ctx context.Context) error {
	defer func() {
		for _, a := range w.state.agents {
			a.CloseIdleConnections()
		}
	}()
	w.state.began = clock.SinceBoot()
	return w.state.run(ctx)
}

// Reports is how many reports of the label there were when they were read last. It
// must not be called while Await runs.
func (w *FenceWait) Reports() int { return w.state.state.Reports() }
