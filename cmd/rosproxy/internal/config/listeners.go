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

// address is where a listener listens.
type address struct {
	value
	hostPort string
	port     uint16
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
		label, listen := e.values[keyLabel][0], e.values[flagListen][0]
		if reason := badLabel(label.text); reason != "" {
			return nil, label.fault("%s", reason)
		}
		at, err := parseAddress(listen, listen.text)
		if err != nil {
			return nil, err
		}
		all = append(all, listener{settings: s.of(e), label: label.text, labelled: label, at: at})
	}
	return all, nil
}

// parseAddress reads HOST:PORT, which is v or part of it.
func parseAddress(v value, text string) (address, error) {
	_, port, reason := SplitHostPort(text)
	if reason != "" {
		return address{}, v.fault("%s", reason)
	}
	return address{value: v, hostPort: text, port: port}, nil
}

// loadListeners reads which listeners there are.
func loadListeners(s settings, c *Config) (err error) {
	if c.listeners, err = listenersOf(s); err != nil {
		return err
	}
	labels := map[string]bool{}    // in lower case, as Consul compares tags
	addresses := map[string]bool{} // HOST:PORT as written
	for _, l := range c.listeners {
		label := discovery.Label{Name: l.label, Tagged: true}
		if l.label == "" {
			label = discovery.Label{Name: unlabelled}
		}
		switch key := strings.ToLower(label.Name); {
		case labels[key]:
			return l.labelled.fault("the label %q has a listener already", label.Name)
		case l.at.port != 0 && addresses[l.at.hostPort]:
			return l.at.fault("the address has a listener already")
		case len(c.Proxy.Listeners) == maxListens:
			return l.labelled.fault("more than %d listeners", maxListens)
		default:
			labels[key], addresses[l.at.hostPort] = true, true
		}
		c.Discovery.Labels = append(c.Discovery.Labels, label)
		c.Proxy.Listeners = append(c.Proxy.Listeners, proxy.Listener{Label: label.Name, Address: l.at.hostPort})
	}
	return nil
}

// Keys of a listener, by the part of the program that they are for.
var (
	keysOfDiscovery = slices.Concat([]string{"service", "tag", "consul-datacenter"}, keysOfLeader, keysOfPolicy)
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
	if l.hasOwn("consul-datacenter") {
		if label.Datacenter, err = parseDatacenter(l.settings); err != nil {
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
