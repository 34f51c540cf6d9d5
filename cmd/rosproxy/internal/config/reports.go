package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

// The flag that has what is obeyed reported, and those that say how.
const (
	flagReport   = "fence-report"
	flagTTL      = "fence-ttl"
	flagInstance = "instance"
)

// defaultReports is where labels report that have several data centres.
const defaultReports = "rosproxy/fence"

// loadReports reads where it is reported what the labels have obeyed. What is for
// all does not concern those with a static master.
func loadReports(s settings, c *Config) error {
	by, err := parseReporter(s)
	if err != nil {
		return err
	}
	if c.Discovery.Reports, err = parseReports(s, by); err != nil {
		return err
	}
	labels := make(map[string][]string) // by prefix
	var first []prefixed
	for i, l := range c.listeners {
		label := &c.Discovery.Labels[i]
		if c.Static[label.Name] != "" {
			continue // loadDiscovery finds what it has of its own
		}
		if l.hasOwn(flagReport) {
			if label.Reports, err = parseReports(l.settings, by); err != nil {
				return err
			}
		}
		of := c.Discovery.Of(*label)
		if of.Reports == nil && len(of.Datacenters) > 0 {
			by.Prefix = defaultReports
			label.Reports = &by
		}
		reports := c.Discovery.Of(*label).Reports
		if reports == nil {
			continue
		}
		v, _ := l.one(flagReport)
		if labels[reports.Prefix] == nil {
			first = append(first, prefixed{v, reports.Prefix})
		}
		labels[reports.Prefix] = append(labels[reports.Prefix], label.Name)
		if k := label.Leader; k != nil && strings.HasPrefix(k.Key, reports.Prefix+"/") {
			return v.fault("the leader key %s of the label %q lies below it, where nothing but reports may be", k.Key, label.Name)
		}
	}
	for _, v := range first {
		if err := discovery.CheckReportedLabels(labels[v.prefix]); err != nil {
			return v.fault("%v", err)
		}
	}
	return checkReports(s, c, len(first) > 0)
}

// prefixed is where a prefix of reports is named first.
type prefixed struct {
	value
	prefix string
}

// checkReports finds what is said of reports in vain, and a host whose name
// cannot stand in them.
func checkReports(s settings, c *Config, reported bool) error {
	if v, ok := s.one(flagReport); ok && len(c.Asking().Labels) == 0 {
		return v.fault("has no effect: every label has a static master")
	}
	if v, _ := s.one(flagTTL); s.explicit(flagTTL) && !reported {
		return v.fault("has a meaning only with %s, and no label has one", v.nameOf(flagReport))
	}
	v, named := s.one(flagInstance)
	if named && !reported { // all programs of a host may be told it
		c.Warnings = append(c.Warnings, v.name()+" has no effect without "+v.nameOf(flagReport))
	}
	if named || !reported {
		return nil
	}
	host, err := os.Hostname()
	if err == nil {
		err = discovery.CheckInstance(host)
	}
	if err != nil {
		return fmt.Errorf("--%s: it is needed, since the host name %q does not do: %w", flagInstance, host, err)
	}
	return nil
}

// parseReporter reads what the reports of all labels have in common.
func parseReporter(s settings) (by discovery.Reports, err error) {
	if by.TTL, err = parseDuration(s, flagTTL, fence.MinTTL, fence.MaxTTL); err != nil {
		return by, err
	}
	v, ok := s.one(flagInstance)
	if !ok {
		by.Instance, _ = os.Hostname() // checkReports finds fault with it, if it is used
		return by, nil
	}
	if err := discovery.CheckInstance(v.text); err != nil {
		return by, v.fault("%v", err)
	}
	by.Instance = v.text
	return by, nil
}

// parseReports reads where to report; nil: nowhere.
func parseReports(s settings, by discovery.Reports) (*discovery.Reports, error) {
	v, ok := s.one(flagReport)
	if !ok {
		return nil, nil
	}
	if err := discovery.CheckReportPrefix(v.text); err != nil {
		return nil, v.fault("%v", err)
	}
	by.Prefix = v.text
	return &by, nil
}
