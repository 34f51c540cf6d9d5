package config

import (
	"slices"
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// listener is where clients of one label connect, before its label is known to
// the rest of the program.
type listener struct {
	settings        // with what it has of its own
	label    string // empty: it has none, and any master will do
	labelled value  // where the label is written
	at       address
}

// listenersOf gives the listeners as they are written: those of the file, else
// those of --listen.
func listenersOf(s settings) ([]listener, error) {
	if s.file.line != "" {
		return listenersOfFile(s)
	}
	var all []listener
	for _, v := range s.list(flagListen) {
		l, err := cutLabel(v)
		if err != nil {
			return nil, err
		}
		at, err := parseAddress(v, l.rest)
		if err != nil {
			return nil, err
		}
		all = append(all, listener{settings: s, label: l.label, labelled: v, at: at})
	}
	return all, nil
}

func listenersOfFile(s settings) ([]listener, error) {
	if s.explicit(flagListen) {
		v := s.list(flagListen)[0]
		return nil, v.fault("%s has %s: give one of them", s.file.line, keyListeners)
	}
	var all []listener
	for _, e := range s.file.listeners {
		label, where := e.values[keyLabel][0], e.values[flagListen][0]
		if reason := badLabel(label.text); reason != "" {
			return nil, label.fault("%s", reason)
		}
		at, err := parseAddress(where, where.text)
		if err != nil {
			return nil, err
		}
		all = append(all, listener{settings: s.of(e), label: label.text, labelled: label, at: at})
	}
	return all, nil
}

// loadListeners reads which listeners there are.
func loadListeners(s settings, c *Config) (err error) {
	if c.listeners, err = listenersOf(s); err != nil {
		return err
	}
	labels := map[string]bool{} // in lower case, as Consul compares tags
	ports := map[uint16][]address{}
	for _, l := range c.listeners {
		label := discovery.Label{Name: l.label, Tagged: true}
		if l.label == "" {
			label = discovery.Label{Name: unlabelled}
		}
		switch key := strings.ToLower(label.Name); {
		case labels[key]:
			return l.labelled.fault("the label %q has a listener already", label.Name)
		case len(c.Proxy.Listeners) == maxListens:
			return l.labelled.fault("more than %d listeners", maxListens)
		default:
			labels[key] = true
		}
		for _, other := range ports[l.at.port] {
			if l.at.overlaps(other) {
				return l.at.fault("cannot be open beside %s, on which another listener is", other.hostPort)
			}
		}
		ports[l.at.port] = append(ports[l.at.port], l.at)
		c.Discovery.Labels = append(c.Discovery.Labels, label)
		c.Proxy.Listeners = append(c.Proxy.Listeners, proxy.Listener{Label: label.Name, Address: l.at.hostPort})
	}
	return nil
}

// Keys of a listener, by the part of the program that they are for.
var (
	keysOfDiscovery = slices.Concat([]string{"service", "tag", flagDatacenter, flagReport}, keysOfLeader, keysOfPolicy)
	keysOfPolicy    = []string{"on-outage", "fence-after", "on-conflict", "on-lost", "lost-after"}
	keysOfProxy     = []string{"hold-timeout", "release-rate", "connect-timeout", "idle-timeout", "drop", "accept-proxy", "accept-proxy-from", "send-proxy"}
)

// loadOwn reads what listeners have of their own.
func loadOwn(_ settings, c *Config) error {
	for i, l := range c.listeners {
		if l.hasOwn(keysOfProxy...) {
			own, err := loadSettings(l.settings)
			if err != nil {
				return err
			}
			c.Proxy.Listeners[i].Settings = &own
		}
		if err := l.loadDiscovery(&c.Discovery.Labels[i], c.Static); err != nil {
			return err
		}
	}
	return nil
}

// loadDiscovery reads what a listener has of its own of what is asked of Consul.
func (l listener) loadDiscovery(label *discovery.Label, static map[string]string) (err error) {
	if static[label.Name] != "" {
		for _, key := range keysOfDiscovery {
			if own := l.own[key]; own != nil {
				return own[0].fault("has no effect: the label %q has a static master", label.Name)
			}
		}
		return nil
	}
	if l.hasOwn("service") {
		if label.Service, err = parseService(l.settings); err != nil {
			return err
		}
	}
	if l.hasOwn("tag") {
		label.Tagged = false // it must match just that list
		if label.Tags, err = parseTags(l.settings); err != nil {
			return err
		}
	}
	if l.hasOwn(flagDatacenter) {
		if label.Datacenter, label.Datacenters, err = parseDatacenters(l.settings); err != nil {
			return err
		}
	}
	if l.hasOwn(keysOfPolicy...) || label.Leader != nil {
		own, err := loadPolicy(l.settings, label.Leader != nil)
		if err != nil {
			return err
		}
		label.Policy = &own
	}
	return nil
}
