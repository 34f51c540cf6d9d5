package config

import (
	"errors"
	"math"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/operator"
)

// awaitFenceFlags say what is awaited. What it has in common with run is named
// the same, and may come from the same variables.
type awaitFenceFlags struct {
	FenceReport      string   `placeholder:"PREFIX" help:"Consul KV prefix of the reports, as instances have it."`
	Label            string   `once:"" placeholder:"LABEL" help:"The label whose master was elected."`
	LeaderKey        string   `once:"" placeholder:"KEY" help:"Consul KV key that the leader holds: the election is the one that gave it to him."`
	Index            string   `once:"" placeholder:"N" help:"Raft index of the election, in place of a leader key."`
	Timeout          string   `once:"" placeholder:"D" help:"How long to wait at most (the longest TTL of the reports, and 10s)."`
	ConsulAddr       []string `sep:"none" placeholder:"ADDR" help:"Consul address (from Consul's own variables, else 127.0.0.1:8500). Repeatable: all are asked."`
	ConsulDatacenter string   `placeholder:"DC" help:"Consul data centre to ask (the agent's own)."`
}

func (f *awaitFenceFlags) load(s settings, c *Client) (err error) {
	e := &c.Election
	prefix, ok := s.one(flagReport)
	if !ok {
		return errors.New("--fence-report: missing: where the instances report")
	}
	if err := discovery.CheckReportPrefix(prefix.text); err != nil {
		return prefix.fault("%v", err)
	}
	label, ok := s.one("label")
	if !ok {
		return errors.New("--label: missing: whose master was elected")
	}
	if reason := badLabel(label.text); reason != "" {
		return label.fault("%s", reason)
	}
	e.Prefix, e.Label = prefix.text, label.text
	if err := loadElection(s, e); err != nil {
		return err
	}
	if e.Timeout, err = parseDuration(s, "timeout", time.Millisecond, day); err != nil {
		return err
	}
	if e.Addresses, err = parseConsulAddresses(s); err != nil {
		return err
	}
	e.Datacenter, err = parseDatacenter(s)
	return err
}

// loadElection reads which election it is.
func loadElection(s settings, e *operator.Election) error {
	key, keyed := s.one(flagLeader)
	index, indexed := s.one("index")
	switch {
	case keyed && indexed:
		return index.fault("beside --%s: give one of them", flagLeader)
	case !keyed && !indexed:
		return errors.New("--leader-key, --index: missing: which election it is")
	case keyed:
		if err := discovery.CheckLeaderKey(key.text, discovery.AddressFormat); err != nil {
			return key.fault("%v", err)
		}
		e.LeaderKey = key.text
		return nil
	}
	n, err := parseCount(s, "index", 1, math.MaxInt)
	e.Index = uint64(n)
	return err
}
