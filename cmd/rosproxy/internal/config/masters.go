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
// key; the others ask Consul for a service. One without a label serves every
// listener that has neither of its own.
func loadMasters(s settings, c *Config) error {
	labels := c.Discovery.Labels
	statics, err := perLabel(s, flagStatic, "master", labels)
	if err != nil {
		return err
	}
	keys, err := perLabel(s, flagLeader, "leader key", labels)
	if err != nil {
		return err
	}
	unused := map[string]labelled{flagLeader: keys[""], flagStatic: statics[""]}
	c.Static = map[string]string{}
	for i, l := range c.listeners {
		label := &labels[i]
		static, hasStatic, err := l.its(flagStatic, "master", statics, label.Name)
		if err != nil {
			return err
		}
		key, hasKey, err := l.its(flagLeader, "leader key", keys, label.Name)
		if err != nil {
			return err
		}
		if hasStatic && hasKey {
			return key.fault("the label %q has a static master, %s", label.Name, static.rest)
		}
		if !hasStatic && !hasKey {
			if static, hasStatic = statics[""]; hasStatic {
				delete(unused, flagStatic)
			} else if key, hasKey = keys[""]; hasKey {
				delete(unused, flagLeader)
			}
		}
		switch {
		case hasStatic:
			c.Static[label.Name], err = parseMaster(static)
		case hasKey:
			label.Leader, err = l.loadLeader(label.Name, key)
		}
		if err != nil {
			return err
		}
	}
	return checkMasters(s, c, unused)
}

// checkMasters finds what serves no label. unused are the values without a
// label that were for none.
func checkMasters(s settings, c *Config, unused map[string]labelled) error {
	for _, flag := range []string{flagLeader, flagStatic} {
		if v := unused[flag]; v.flag != "" {
			return v.fault("has no effect: every label has a leader key or a static master")
		}
	}
	if err := checkLeaders(s, c); err != nil {
		return err
	}
	if len(c.Static) == 0 {
		c.Static = nil
	}
	if len(c.Static) == len(c.Discovery.Labels) && s.explicit("consul-addr") {
		c.Warnings = append(c.Warnings, s.list("consul-addr")[0].name()+" has no effect: every label has a static master")
	}
	return nil
}

// perLabel gives the values of a flag of the form [LABEL=]REST by label; that
// without one by "". what is the thing that each names, for errors.
func perLabel(s settings, flag, what string, labels []discovery.Label) (map[string]labelled, error) {
	all := map[string]labelled{}
	for _, v := range s.list(flag) {
		l, err := cutLabel(v)
		_, again := all[l.label]
		switch {
		case err != nil:
			return nil, err
		case again && l.label == "":
			return nil, v.fault("a second %s without a label", what)
		case again:
			return nil, v.fault("the label %q has a %s already", l.label, what)
		case l.label != "" && !hasLabel(labels, l.label):
			return nil, v.fault("no listener has the label %q", l.label)
		}
		all[l.label] = l
	}
	return all, nil
}

// its is what a listener's label has of a flag: of its own in the file, else
// with its name in all.
func (l listener) its(flag, what string, all map[string]labelled, name string) (v labelled, ok bool, err error) {
	v, ok = all[name]
	own := l.own[flag]
	if own == nil {
		return v, ok, nil
	}
	if ok {
		return v, false, own[0].fault("the label %q has a %s already, %s", name, what, v.rest)
	}
	return labelled{value: own[0], label: name, rest: own[0].text}, true, nil
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
