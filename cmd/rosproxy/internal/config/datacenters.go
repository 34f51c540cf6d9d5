package config

import (
	"slices"
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

// The flags that say in which data centre the master is.
const (
	flagDatacenter    = "consul-datacenter"
	flagDatacenterKey = "datacenter-key"
	flagRemote        = "remote-master"

	maxDatacenters = 16
)

// loadDatacenters reads where the masters of all labels may be.
func loadDatacenters(s settings, d *discovery.Config) (err error) {
	if d.Datacenter, d.Datacenters, err = parseDatacenters(s); err != nil {
		return err
	}
	key, _ := s.one(flagDatacenterKey)
	if err := discovery.CheckDatacenterKey(key.text); err != nil {
		return key.fault("%v", err)
	}
	d.DatacenterKey = key.text
	remote, err := parseChoice(s, flagRemote, "forward", "hold")
	if remote == "hold" {
		d.RemoteMaster = discovery.HoldRemote
	}
	return err
}

// parseDatacenters reads the data centre to ask, empty for the agent's own, or the
// several in one of which the master may be.
func parseDatacenters(s settings) (one string, several []string, err error) {
	for _, v := range s.list(flagDatacenter) {
		name := strings.ToLower(v.text)
		switch err := datacenter.CheckName(name); {
		case err != nil:
			return "", nil, v.fault("not the name of a data centre: %v", err)
		case slices.Contains(several, name):
			return "", nil, v.fault("named twice")
		case len(several) == maxDatacenters:
			return "", nil, v.fault("more than %d data centres", maxDatacenters)
		}
		several = append(several, name)
	}
	switch len(several) {
	case 0:
		return "", nil, nil
	case 1:
		return several[0], nil, nil
	}
	return "", several, nil
}

// parseDatacenter reads the data centre to ask, where it must be one; empty: the agent's own.
func parseDatacenter(s settings) (string, error) {
	v, ok := s.one(flagDatacenter)
	if !ok {
		return "", nil
	}
	name := strings.ToLower(v.text)
	if err := datacenter.CheckName(name); err != nil {
		return "", v.fault("not the name of a data centre: %v", err)
	}
	return name, nil
}

// checkDatacenters finds what is said of several data centres in vain, and a report
// or a leader key where their entry must be.
func checkDatacenters(s settings, c *Config) error {
	several := false
	for i, label := range c.Discovery.Labels {
		of := c.Discovery.Of(label)
		if c.Static[label.Name] != "" || len(of.Datacenters) == 0 {
			continue
		}
		several = true
		key, l := c.Discovery.DatacenterKey, c.listeners[i]
		if strings.HasPrefix(key, of.Reports.Prefix+"/") {
			v, _ := s.one(flagDatacenterKey)
			return v.fault("it lies below the fence reports at %s, where nothing but reports may be", of.Reports.Prefix)
		}
		if label.Leader != nil && label.Leader.Key == key {
			v, _ := l.one(flagLeader)
			return v.fault("it is the key of the active data centre")
		}
	}
	for _, flag := range []string{flagDatacenterKey, flagRemote} {
		if v, _ := s.one(flag); s.explicit(flag) && !several {
			c.Warnings = append(c.Warnings, v.name()+" has no effect without several "+v.nameOf(flagDatacenter))
		}
	}
	return nil
}
