package config

import (
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
)

// keysOfLeader say how a leader key is to be read.
var keysOfLeader = []string{"leader-format", "leader-lock", "leader-ready"}

// loadLeader reads how a listener follows its leader key. name is its label's.
func (l listener) loadLeader(name string, key labelled) (*discovery.LeaderKey, error) {
	k, err := parseLeader(l.settings)
	if err != nil {
		return nil, err
	}
	k.Key = key.rest
	if l.hasOwn(flagLeader) && strings.HasPrefix(k.Key, name+"=") { // as if it were the flag
		return nil, key.fault("the label stands in %s; here is the key alone", keyLabel)
	}
	if err := discovery.CheckLeaderKey(k.Key, k.Format); err != nil {
		return nil, key.fault("%v", err)
	}
	if v, _ := l.one("leader-ready"); k.Ready == discovery.ReadyAPI && k.Format != discovery.PatroniFormat {
		return nil, v.fault("only a member of Patroni has a REST API: %s of the label %q is not patroni", v.nameOf("leader-format"), name)
	}
	return &k, nil
}

// parseLeader reads the words of a leader key's flags.
func parseLeader(s settings) (k discovery.LeaderKey, err error) {
	format, err := parseChoice(s, "leader-format", "patroni", "address")
	if err != nil {
		return k, err
	}
	lock, err := parseChoice(s, "leader-lock", "required", "ignored")
	if err != nil {
		return k, err
	}
	ready, err := parseChoice(s, "leader-ready", "api", "catalog", "now")
	if err != nil {
		return k, err
	}
	if format == "patroni" {
		k.Format, k.Ready = discovery.PatroniFormat, discovery.ReadyAPI
	}
	k.LockIgnored = lock == "ignored"
	switch ready {
	case "api":
		k.Ready = discovery.ReadyAPI
	case "catalog":
		k.Ready = discovery.ReadyCatalog
	case "now":
		k.Ready = discovery.ReadyNow
	}
	return k, nil
}

// checkLeaders finds flags of a leader key where there is none.
func checkLeaders(s settings, c *Config) error {
	if _, err := parseLeader(s); err != nil {
		return err
	}
	followed := false
	for i, label := range c.Discovery.Labels {
		if label.Leader != nil {
			followed = true
			continue
		}
		if c.Static[label.Name] != "" {
			continue // loadDiscovery finds what it has of its own
		}
		for _, key := range keysOfLeader {
			if own := c.listeners[i].own[key]; own != nil {
				return own[0].fault("has a meaning only with a %s, and the label %q has none", flagLeader, label.Name)
			}
		}
	}
	for _, flag := range keysOfLeader {
		if v, _ := s.one(flag); s.explicit(flag) && !followed {
			return v.fault("has a meaning only with %s, and no label has one", v.nameOf(flagLeader))
		}
	}
	return nil
}
