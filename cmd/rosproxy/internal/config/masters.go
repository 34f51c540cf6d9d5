package config

import (
	"github.com/rosproxy/rosproxy/discovery"
)

// The flags that name a master, or a key that does, in place of a service.
const (
	flagStatic = "static-master"
	flagLeader = "leader-key"
)

// loadMasters reads which labels have a fixed master and which follow a leader
// key; the others ask Consul for a service. What is given without a label is for
// every listener that has neither of its own.
func loadMasters(s settings, c *Config) error {
	statics, err := perLabel(s, flagStatic, "master", c.Discovery.Labels)
	if err != nil {
		return err
	}
	keys, err := perLabel(s, flagLeader, "leader key", c.Discovery.Labels)
	if err != nil {
		return err
	}
	unused := map[*labelled]bool{statics[""]: true, keys[""]: true}
	for i, l := range c.listeners {
		label := &c.Discovery.Labels[i]
		static, key, err := l.master(label.Name, statics, keys)
		if err != nil {
			return err
		}
		delete(unused, static)
		delete(unused, key)
		if err := c.setMaster(l, label, static, key); err != nil {
			return err
		}
	}
	for _, v := range []*labelled{keys[""], statics[""]} {
		if v != nil && unused[v] {
			return v.fault("has no effect: every label has a leader key or a static master")
		}
	}
	if len(c.Static) == len(c.Discovery.Labels) && s.explicit("consul-addr") {
		c.Warnings = append(c.Warnings, s.list("consul-addr")[0].name()+" has no effect: every label has a static master")
	}
	return checkLeaders(s, c)
}

// perLabel gives the values of a flag of the form [LABEL=]REST by label; that
// without one by "". what is the thing that each names, for errors.
func perLabel(s settings, flag, what string, labels []discovery.Label) (map[string]*labelled, error) {
	all := map[string]*labelled{}
	for _, v := range s.list(flag) {
		l, err := cutLabel(v)
		switch {
		case err != nil:
			return nil, err
		case all[l.label] != nil && l.label == "":
			return nil, v.fault("a second %s without a label", what)
		case all[l.label] != nil:
			return nil, v.fault("the label %q has a %s already", l.label, what)
		case l.label != "" && !hasLabel(labels, l.label):
			return nil, v.fault("no listener has the label %q", l.label)
		}
		all[l.label] = &l
	}
	return all, nil
}

// master is the static master or the leader key of a listener, whose label is
// called name, nil where it has none: its own, else what is for all.
func (l listener) master(name string, statics, keys map[string]*labelled) (static, key *labelled, err error) {
	if static, err = l.its(flagStatic, "master", name, statics); err != nil {
		return nil, nil, err
	}
	if key, err = l.its(flagLeader, "leader key", name, keys); err != nil {
		return nil, nil, err
	}
	switch {
	case static != nil && key != nil:
		return nil, nil, key.fault("the label %q has a static master, %s", name, static.rest)
	case static != nil || key != nil:
		return static, key, nil
	case statics[""] != nil:
		return statics[""], nil, nil
	}
	return nil, keys[""], nil
}

// its is what a listener has of a flag in the file, or by its label in all; nil: neither.
func (l listener) its(flag, what, name string, all map[string]*labelled) (*labelled, error) {
	own, named := l.own[flag], all[name]
	switch {
	case own == nil:
		return named, nil
	case named != nil:
		return nil, own[0].fault("the label %q has a %s already, %s", name, what, named.rest)
	}
	return &labelled{value: own[0], label: name, rest: own[0].text}, nil
}

// setMaster puts into c what a listener follows, which may be neither.
func (c *Config) setMaster(l listener, label *discovery.Label, static, key *labelled) (err error) {
	switch {
	case static != nil:
		if c.Static == nil {
			c.Static = map[string]string{}
		}
		c.Static[label.Name], err = parseMaster(*static)
	case key != nil:
		label.Leader, err = l.loadLeader(label.Name, *key)
	}
	return err
}

// parseMaster reads the HOST:PORT of a master.
func parseMaster(l labelled) (string, error) {
	host, port, reason := SplitHostPort(l.rest)
	switch {
	case reason != "":
		return "", l.fault("%s", reason)
	case host == "" || port == 0:
		return "", l.fault("a master needs a host and a port")
	}
	if err := discovery.CheckStatic(l.rest); err != nil {
		return "", l.fault("%v", err)
	}
	return l.rest, nil
}

func hasLabel(labels []discovery.Label, name string) bool {
	for _, l := range labels {
		if l.Name == name {
			return true
		}
	}
	return false
}
