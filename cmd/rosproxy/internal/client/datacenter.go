package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/operator"
)

func datacenters(ctx context.Context, s *session) int {
	if s.config.Datacenters.Target == "" {
		return showDatacenters(ctx, s)
	}
	return activateDatacenter(ctx, s)
}

// activateDatacenter makes a data centre the active one. Each step is a line as soon
// as it is done: an operator must see where it was when it is killed.
func activateDatacenter(ctx context.Context, s *session) int {
	d := s.config.Datacenters
	a := operator.Activation{
		Addresses: d.Discovery.Addresses, Datacenters: d.Discovery.AllDatacenters(), Key: d.Discovery.DatacenterKey, Prefixes: d.Discovery.ReportPrefixes(),
		TTL: reportsTTL(d.Discovery), Target: d.Target, Force: d.Force, By: caller(), Timeout: d.Timeout,
		Tell: func(what string) {
			s.progress.end()
			fmt.Fprintln(s.stdout, printable(what))
		},
	}
	if s.progress.terminal {
		a.Waiting = func(behind []operator.ReportBehind) { s.progress.show(waitingForTerm(behind)) }
	}
	done, err := operator.Activate(ctx, a)
	for _, what := range done.Unverified {
		s.say("datacenter: not verified: %s", what)
	}
	if err == nil {
		s.progress.end()
		already := ""
		if !done.Changed {
			already = " already"
		}
		fmt.Fprintf(s.stdout, "%s is the active data centre%s\n", d.Target, already)
		return exitDone
	}
	s.say("datacenter: %v", err)
	if late, ok := errors.AsType[*operator.BehindError](err); ok {
		for _, b := range late.Behind {
			s.say("datacenter: data centre %s: %s", b.Datacenter, describeBehind(b.FenceBehind))
		}
	}
	switch {
	case done.Nobody:
		s.say("datacenter: %s is not activated, and clients may be held everywhere until this has been run again", d.Target)
	case done.Changed:
		s.say("datacenter: %s may not be active everywhere; run this again", d.Target)
	}
	return exitNotDone
}

// reportsTTL is the longest that the configuration knows.
func reportsTTL(c discovery.Config) (longest time.Duration) {
	for _, l := range c.Labels {
		if r := c.Of(l).Reports; r != nil {
			longest = max(longest, r.TTL)
		}
	}
	return longest
}

// caller is who activates, for the entry: another one for each call.
func caller() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, since Go 1.24
	return fmt.Sprintf("%s@%s %s %s", name, host, time.Now().UTC().Format(time.RFC3339), hex.EncodeToString(b[:]))
}

// waitingForTerm is what is waited for, in a line.
func waitingForTerm(behind []operator.ReportBehind) string {
	var names []string
	for _, b := range behind {
		names = append(names, fmt.Sprintf("%s in %s (unchanged for %v)", cmp.Or(b.Instance, b.Key), b.Datacenter, b.Unchanged.Round(100*time.Millisecond)))
	}
	return fmt.Sprintf("waiting for %d: %s", len(names), strings.Join(names, ", "))
}
