package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// Activation says which data centre is to be the active one, and who must obey.
type Activation struct {
	Addresses   []string      // as discovery.Config.Addresses
	Datacenters []string      // as discovery.Config.Datacenters
	Key         string        // as discovery.Config.DatacenterKey
	Prefixes    []string      // of the reports, in each of them
	TTL         time.Duration // of the reports: a data centre that is forced may have given leases as long as that; 0: 20s

	Target string // the data centre to be activated
	Force  bool   // goes on without data centres that cannot be read, and reports that stay behind
	By     string // who does it; another one for each activation

	Timeout time.Duration        // of the command; an entry that is being written then is finished. 0: none, but reports are waited for as long as the longest TTL of them and 10s
	Tell    func(string)         // is told of each step when it is done, or begins and may take long; nil: nobody is
	Waiting func([]ReportBehind) // is told of those that are waited for, whenever they have been read; nil: nobody is
}

// validate finds what no retry can fix.
func (a Activation) validate() error {
	if err := discovery.CheckDatacenterKey(a.Key); err != nil {
		return fmt.Errorf("the key of the active data centre %s: %w", text.Quoted(a.Key), err)
	}
	for _, p := range a.Prefixes {
		if err := discovery.CheckReportPrefix(p); err != nil {
			return fmt.Errorf("fence reports below %s: %w", text.Quoted(p), err)
		}
	}
	switch {
	case len(a.Datacenters) < 2:
		return errors.New("there are not several data centres")
	case len(a.Prefixes) == 0:
		return errors.New("no prefix of reports is named")
	case !slices.Contains(a.Datacenters, a.Target):
		return fmt.Errorf("%s is none of the data centres %s", text.Quoted(a.Target), strings.Join(a.Datacenters, ", "))
	case a.Timeout < 0 || a.TTL < 0:
		return errors.New("a duration is below zero")
	}
	return nil
}

// ReportBehind is a report that has not seen the term that is waited for.
type ReportBehind struct {
	Datacenter string
	FenceBehind
}

// BehindError says that reports were still behind when the time was up.
type BehindError struct {
	Term   uint64
	After  time.Duration
	Behind []ReportBehind
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("after %v there are reports, %d of them, that have not seen term %d", e.After.Round(time.Millisecond), len(e.Behind), e.Term)
}

// Activated is what an activation has done.
type Activated struct {
	Changed    bool     // something was written, or it is not known whether
	Nobody     bool     // it has failed after it began to write that nobody is active: clients may be held everywhere
	Unverified []string // what is not known since it was forced, for people
}

// Activate makes a data centre the active one, as package datacenter says: when it
// has returned without an error, no client is connected to a master in another one,
// unless the operator has forced that. It fails with a *datacenter.Refused when
// nothing was written, and with a *BehindError when reports stay behind. It may be
// called again, whatever became of it.
func Activate(ctx context.Context, a Activation) (Activated, error) {
	if err := a.validate(); err != nil {
		return Activated{}, err
	}
	agents, err := consul.NewClients(a.Addresses, hostname.SystemLookup)
	if err != nil {
		return Activated{}, err
	}
	defer func() {
		for _, one := range agents {
			one.CloseIdleConnections()
		}
	}()
	a.TTL = cmp.Or(a.TTL, fenceUnread)
	w := &activation{
		Activation: a, agents: agents, began: clock.SinceBoot(), longest: a.TTL,
		state: datacenter.Activation{Datacenters: a.Datacenters, Target: a.Target, Force: a.Force, By: a.By},
	}
	err = w.run(ctx)
	return Activated{Changed: w.wrote, Nobody: err != nil && w.wrote && w.state.PassesNobody(), Unverified: w.unverified}, err
}

// activation is the state of an Activate: it does the I/O that datacenter.Activation asks for.
type activation struct {
	Activation
	agents []*consul.Client
	state  datacenter.Activation

	began      time.Duration // since boot
	longest    time.Duration // TTL of the reports
	entered    bool          // there was an entry before
	wrote      bool
	unverified []string
}

func (w *activation) tell(format string, args ...any) {
	if w.Tell != nil {
		w.Tell(fmt.Sprintf(format, args...))
	}
}

func (w *activation) run(ctx context.Context) error {
	found, err := w.survey(ctx)
	if err != nil {
		return err
	}
	if err := w.state.Plan(found); err != nil {
		return err
	}
	for _, dc := range w.state.Forced() {
		w.tell("%s: forced, and not known: %s", dc, found[dc].Unread)
		w.unverified = append(w.unverified, fmt.Sprintf("that data centre %s is down, and stays down until this has ended", dc))
	}
	if dcs := w.state.Unsettled(); len(dcs) > 0 && w.Force {
		w.unverified = append(w.unverified, fmt.Sprintf("what data centre %s may know: an activation was forced without it, and none has succeeded since without --force", strings.Join(dcs, ", ")))
	}
	for {
		step, more := w.state.Next()
		if !more {
			return nil
		}
		if err := w.do(ctx, step); err != nil {
			return err
		}
	}
}

func (w *activation) do(ctx context.Context, step datacenter.Step) error {
	switch step.Kind {
	case datacenter.Write:
		modify, err := w.write(ctx, step)
		if err != nil {
			return fmt.Errorf("write the entry in data centre %s: %w", step.Datacenter, err)
		}
		w.tell("%s: %s", step.Datacenter, describeEntry(step.Entry))
		w.state.Written(modify)
		return nil
	case datacenter.Await:
		highest, err := w.await(ctx, step)
		if err != nil {
			return err
		}
		return w.state.Awaited(highest)
	}
	modify := make(map[string]uint64)
	for _, dc := range step.Datacenters {
		f, err := w.readEntry(ctx, dc)
		if err != nil {
			return fmt.Errorf("read the entry in data centre %s again: %w", dc, err)
		}
		modify[dc] = f.Modify
	}
	return w.state.Confirmed(modify)
}

// describeEntry is e for people.
func describeEntry(e datacenter.Entry) string {
	out := "nobody is active"
	switch {
	case e.Term == 0:
		return "no entry"
	case e.Active != "":
		out = e.Active + " is active"
	}
	out += fmt.Sprintf(" (term %d", e.Term)
	if len(e.Without) > 0 {
		out += ", without " + strings.Join(e.Without, ", ")
	}
	return out + ")"
}

// lease is how long a data centre that is forced may have given leases for.
func (w *activation) lease() time.Duration { return fence.DeadAfter(w.longest) }
