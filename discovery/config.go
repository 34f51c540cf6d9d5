package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// OutagePolicy says what becomes of a master while Consul cannot be asked.
type OutagePolicy int

// The outage policies.
const (
	Keep  OutagePolicy = iota // the last known master stays
	Fence                     // after Config.FenceAfter no master counts, and live connections are cut
)

// ConflictPolicy says what happens when several instances claim to be master.
type ConflictPolicy int

// The conflict policies.
const (
	Newest ConflictPolicy = iota // the newest registration wins
	Refuse                       // nobody is master until one claim is left
)

// LostPolicy says what becomes of live connections when the master is gone and
// no other is elected.
type LostPolicy int

// The policies for a lost master.
const (
	KeepLive LostPolicy = iota // they stay until another master is elected
	CutLive                    // they end after Config.LostAfter
)

// RemotePolicy says what is done about a master that is in another data centre.
type RemotePolicy int

// The policies for a master elsewhere.
const (
	ForwardRemote RemotePolicy = iota // clients are connected to it
	HoldRemote                        // they are held, and the label is unready: a warm spare
)

// DefaultDatacenterKey is what Config.DatacenterKey is by default.
const DefaultDatacenterKey = "rosproxy/datacenter"

// Config says what to watch in Consul. It is fixed for the life of a source.
// The zero value of every field but Service and Labels is a sensible default.
type Config struct {
	Service    string   // the service that the candidates register
	Tags       []string // what makes an instance master: all must match, regardless of case; none: any instance is
	Labels     []Label  // at least one; unique names
	Addresses  []string // HOST:PORT, http(s)://HOST:PORT[/PREFIX] or unix:///PATH; all are watched. Empty: CONSUL_HTTP_ADDR, else CONSUL_HOST and CONSUL_PORT, else 127.0.0.1:8500
	Datacenter string   // the data centre to ask; empty: the agent's own
	// Datacenters are those in one of which the master may be, two at least, in
	// place of Datacenter; an entry of the KV store says in which. None: there is one.
	Datacenters   []string
	DatacenterKey string // of that entry, in each of them; empty: DefaultDatacenterKey
	RemoteMaster  RemotePolicy
	OnOutage      OutagePolicy
	FenceAfter    time.Duration // with Fence: how long consistent reads may go unanswered, from the first one on; at least 1s; 0: 30s
	OnConflict    ConflictPolicy
	OnLost        LostPolicy
	LostAfter     time.Duration // with CutLive: how long the master must be gone; 0: at once
	Reports       *Reports      // what was obeyed is reported; nil: it is not

	Wait           time.Duration // one long poll, at most; 0: 10s
	VerifyEvery    time.Duration // between two consistent reads of one question at one address, about; 0: 1.5s
	VerifyTimeout  time.Duration // one consistent read, its body included; 0: 4s. Where a label has Fence, its FenceAfter at most
	ResolveTimeout time.Duration // one look-up of a master's host name; 0: 2s
	// RegressAfter is how long a raft index lower than one already acted on
	// must stand, confirmed by consistent reads and contradicted by nobody,
	// before an address that never showed the higher one is believed; 0: 30s.
	// An address whose own index went backwards needs no such time.
	RegressAfter time.Duration
	Backoff      time.Duration // ceiling of the first pause after a failed long poll; 0: 1s
	BackoffMax   time.Duration // ceiling of the later ones; 0: 5s
}

// DefaultVerifyTimeout is what Config.VerifyTimeout is by default.
const DefaultVerifyTimeout = 4 * time.Second

// withDefaults answers c with every zero duration replaced by what it means.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.FenceAfter, 30 * time.Second},
		{&c.Wait, 10 * time.Second},
		{&c.VerifyEvery, 1500 * time.Millisecond},
		{&c.VerifyTimeout, DefaultVerifyTimeout},
		{&c.ResolveTimeout, 2 * time.Second},
		{&c.RegressAfter, 30 * time.Second},
		{&c.Backoff, time.Second},
		{&c.BackoffMax, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

// validate finds what no default can fix.
func (c Config) validate() error {
	if c.Service == "" {
		return errors.New("no Consul service is named")
	}
	if len(c.Labels) == 0 {
		return errors.New("no label is named")
	}
	seen := make(map[string]bool, len(c.Labels))
	for _, l := range c.Labels {
		if seen[l.Name] {
			return fmt.Errorf("label %q is named twice", l.Name)
		}
		seen[l.Name] = true
	}
	for _, d := range []time.Duration{c.FenceAfter, c.Wait, c.VerifyEvery, c.VerifyTimeout, c.ResolveTimeout, c.RegressAfter, c.Backoff, c.BackoffMax, c.LostAfter} {
		if d < 0 {
			return fmt.Errorf("a duration of %v is below zero", d)
		}
	}
	if c.FenceAfter > 0 && c.FenceAfter < time.Second {
		return fmt.Errorf("a time of %v before an outage is fenced is less than 1s", c.FenceAfter)
	}
	if c.DatacenterKey != "" {
		if err := CheckDatacenterKey(c.DatacenterKey); err != nil {
			return fmt.Errorf("the key of the active data centre %s: %w", text.Quoted(c.DatacenterKey), err)
		}
	}
	for _, l := range c.Labels {
		if err := c.Of(l).validatePlaces(); err != nil {
			return fmt.Errorf("label %q: %w", l.Name, err)
		}
		if err := validateReports(c.Of(l).Reports); err != nil {
			return fmt.Errorf("label %q: %w", l.Name, err)
		}
		if err := l.Leader.validate(); err != nil {
			return fmt.Errorf("label %q: %w", l.Name, err)
		}
		if p := l.Policy; p != nil && p.LostAfter < 0 {
			return fmt.Errorf("label %q: a duration of %v is below zero", l.Name, p.LostAfter)
		}
		if p := l.Policy; p != nil && (p.FenceAfter < 0 || p.FenceAfter > 0 && p.FenceAfter < time.Second) {
			return fmt.Errorf("label %q: a time of %v before an outage is fenced is less than 1s", l.Name, p.FenceAfter)
		}
	}
	return nil
}

// Of is c for l alone: what l has of its own is in the place of what c says for all.
func (c Config) Of(l Label) Config {
	c.Labels = []Label{l}
	if l.Service != "" {
		c.Service = l.Service
	}
	if len(l.Tags) > 0 {
		c.Tags = l.Tags
	}
	if l.Datacenter != "" {
		c.Datacenter, c.Datacenters = l.Datacenter, nil
	}
	if len(l.Datacenters) > 0 {
		c.Datacenter, c.Datacenters = "", l.Datacenters
	}
	if l.Reports != nil {
		c.Reports = l.Reports
	}
	if l.Policy != nil {
		p := l.Policy
		c.OnOutage, c.FenceAfter, c.OnConflict, c.OnLost, c.LostAfter = p.OnOutage, p.FenceAfter, p.OnConflict, p.OnLost, p.LostAfter
	}
	return c
}

// pollTimeout is the client's deadline for one long poll, its body included.
// The server adds up to a sixteenth of jitter to the wait (Consul's page
// api-docs/features/blocking), so a deadline equal to the wait would fail for
// ever (prometheus#3353).
func (c Config) pollTimeout() time.Duration { return c.Wait*17/16 + 2*time.Second }

// datacenterKey is the key of the entry that names the active data centre.
func (c Config) datacenterKey() string { return cmp.Or(c.DatacenterKey, DefaultDatacenterKey) }

// CheckDatacenterKey says what is wrong with the key of that entry: nil when
// nothing is.
func CheckDatacenterKey(key string) error { return CheckLeaderKey(key, AddressFormat) }

// possibleDatacenters are those in which the master of a label with this
// configuration may be.
func (c Config) possibleDatacenters() []string {
	if len(c.Datacenters) > 0 {
		return c.Datacenters
	}
	return []string{c.Datacenter}
}

// AllDatacenters are those in which the master of a label may be that has several, each once.
func (c Config) AllDatacenters() (all []string) {
	for _, l := range c.Labels {
		for _, dc := range c.Of(l).Datacenters {
			if !slices.Contains(all, dc) {
				all = append(all, dc)
			}
		}
	}
	return all
}

// ReportPrefixes are those below which labels report that have several data
// centres, each once.
func (c Config) ReportPrefixes() (all []string) {
	for _, l := range c.Labels {
		if of := c.Of(l); len(of.Datacenters) > 0 && of.Reports != nil && !slices.Contains(all, of.Reports.Prefix) {
			all = append(all, of.Reports.Prefix)
		}
	}
	return all
}

// validatePlaces says what is wrong with the data centres of one label.
func (c Config) validatePlaces() error {
	if len(c.Datacenters) == 0 {
		return nil
	}
	if len(c.Datacenters) == 1 {
		return errors.New("one data centre is not several")
	}
	if c.Reports == nil {
		return errors.New("several data centres need fence reports")
	}
	seen := make(map[string]bool)
	for _, dc := range c.Datacenters {
		if err := datacenter.CheckName(dc); err != nil {
			return fmt.Errorf("data centre %s: %w", text.Quoted(dc), err)
		}
		if seen[dc] || dc != strings.ToLower(dc) {
			return fmt.Errorf("data centre %s is named twice, or not in lower case", text.Quoted(dc))
		}
		seen[dc] = true
	}
	return nil
}

// confirmedFor is how long a consistent read confirms the index of its
// address: long enough for the next one, and one that fails, to have come back.
func (c Config) confirmedFor() time.Duration { return 2*c.VerifyEvery + c.VerifyTimeout }

// TagsOf are those that the master of l must carry.
func (c Config) TagsOf(l Label) []string {
	tags := slices.Clone(c.Of(l).Tags)
	if l.Tagged {
		tags = append(tags, "label="+l.Name)
	}
	return tags
}

// CheckAddress says what is wrong with an address of Consul: nil when nothing is.
// The error quotes none that may hold a password.
func CheckAddress(address string) error { return consul.CheckAddress(address) }

// ReadToken reads a token file, of which nothing is ever quoted in an error. The
// token is empty when the file is, and else one line of printable ASCII.
func ReadToken(file string) (string, error) { return consul.ReadToken(file) }
