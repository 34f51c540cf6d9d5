package config

import (
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// loadPolicy reads what is to be done in doubtful cases. A label that follows a
// leader key cuts what a lost master leaves, unless it is told otherwise.
func loadPolicy(s settings, leader bool) (p discovery.Policy, err error) {
	outage, err := parseChoice(s, "on-outage", "keep", "fence")
	if err != nil {
		return p, err
	}
	if outage == "fence" {
		p.OnOutage = discovery.Fence
	}
	if p.FenceAfter, err = parseDuration(s, "fence-after", time.Second, 30*day); err != nil {
		return p, err
	}
	conflict, err := parseChoice(s, "on-conflict", "newest", "refuse")
	if err != nil {
		return p, err
	}
	if conflict == "refuse" {
		p.OnConflict = discovery.Refuse
	}
	lost, err := parseChoice(s, "on-lost", "keep", "cut")
	if err != nil {
		return p, err
	}
	if lost == "cut" || lost == "" && leader {
		p.OnLost = discovery.CutLive
	}
	p.LostAfter, err = parseDuration(s, "lost-after", 0, 30*day)
	return p, err
}

// checkPolicies finds times that nothing waits for. Those for all may serve
// some listeners alone.
func checkPolicies(s settings, c *Config) error {
	fenced, cut := false, false
	for i, label := range c.Discovery.Labels {
		if c.Static[label.Name] != "" {
			continue // loadDiscovery finds what it has of its own
		}
		own, p := c.listeners[i].own, c.Discovery.Of(label)
		fenced = fenced || p.OnOutage == discovery.Fence
		cut = cut || p.OnLost == discovery.CutLive
		if v := own["fence-after"]; v != nil && p.OnOutage != discovery.Fence {
			return v[0].fault("has a meaning only with on-outage fence")
		}
		if v := own["lost-after"]; v != nil && p.LostAfter > 0 && p.OnLost != discovery.CutLive {
			return v[0].fault("has a meaning only with on-lost cut")
		}
	}
	for _, flag := range []string{"on-lost", "lost-after"} {
		if v, _ := s.one(flag); s.explicit(flag) && len(c.Asking().Labels) == 0 {
			return v.fault("has no effect: every label has a static master")
		}
	}
	if v, _ := s.one("lost-after"); c.Discovery.LostAfter > 0 && !cut {
		return v.fault("has a meaning only with %s cut", v.nameOf("on-lost"))
	}
	if len(c.Asking().Labels) == 0 {
		for _, flag := range []string{"on-outage", "fence-after", "on-conflict"} {
			if v, _ := s.one(flag); s.explicit(flag) {
				c.Warnings = append(c.Warnings, v.name()+" has no effect: every label has a static master")
			}
		}
	} else if v, _ := s.one("fence-after"); s.explicit("fence-after") && !fenced {
		c.Warnings = append(c.Warnings, v.name()+" has no effect without "+v.nameOf("on-outage")+" fence")
	}
	return nil
}
