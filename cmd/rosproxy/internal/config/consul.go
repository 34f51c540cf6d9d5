package config

import (
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// loadConsul reads what is asked of Consul, and where.
func loadConsul(s settings, c *Config) (err error) {
	d := &c.Discovery
	if d.Service, err = parseService(s); err != nil {
		return err
	}
	if d.Tags, err = parseTags(s); err != nil {
		return err
	}
	for _, v := range s.list("consul-addr") {
		v.secret = strings.Contains(v.text, "@") // a password may be in it
		if v.text == "" || !isPlain(v.text) {
			return v.fault("not an address of Consul")
		}
		if err := discovery.CheckAddress(v.text); err != nil {
			return v.fault("%v", err)
		}
		d.Addresses = append(d.Addresses, v.text)
	}
	if d.Datacenter, err = parseDatacenter(s); err != nil {
		return err
	}
	if d.VerifyEvery, err = parseDuration(s, "verify-every", 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	p, err := loadPolicy(s)
	d.OnOutage, d.FenceAfter, d.OnConflict = p.OnOutage, p.FenceAfter, p.OnConflict
	return err
}

func parseService(s settings) (string, error) {
	v, _ := s.one("service")
	if v.text == "" || !isPlain(v.text) || strings.ContainsAny(v.text, "/?#%") {
		return "", v.fault("not the name of a service")
	}
	return v.text, nil
}

func parseTags(s settings) (tags []string, err error) {
	for _, v := range s.list("tag") {
		if v.text == "" || !isPlain(v.text) {
			return nil, v.fault("not a tag")
		}
		tags = append(tags, v.text)
	}
	return tags, nil
}

// parseDatacenter reads the data centre to ask; empty: the agent's own.
func parseDatacenter(s settings) (string, error) {
	v, ok := s.one("consul-datacenter")
	if ok && (v.text == "" || !isPlain(v.text)) {
		return "", v.fault("not the name of a data centre")
	}
	return v.text, nil
}

// loadPolicy reads what is to be done in doubtful cases.
func loadPolicy(s settings) (p discovery.Policy, err error) {
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
	if conflict == "refuse" {
		p.OnConflict = discovery.Refuse
	}
	return p, err
}

// loadStatic reads the fixed masters. One without a label serves every
// listener that has none of its own. Without one all listeners ask Consul.
func loadStatic(s settings, c *Config) error {
	named, err := parseStatic(s, c.Discovery.Labels)
	if err != nil {
		return err
	}
	static := map[string]string{}
	for i, l := range c.Discovery.Labels {
		address := named[l.Name]
		if address == "" {
			address = named[""]
		}
		if own := c.listeners[i].own["static-master"]; own != nil {
			if address, err = parseMaster(own[0]); err != nil {
				return err
			}
			if named[l.Name] != "" {
				return own[0].fault("the label %q has a master already, %s", l.Name, named[l.Name])
			}
		}
		if address != "" {
			static[l.Name] = address
		}
	}
	if len(static) > 0 {
		c.Static = static
	}
	if len(static) == len(c.Discovery.Labels) && s.explicit("consul-addr") {
		c.Warnings = append(c.Warnings, s.list("consul-addr")[0].name()+" has no effect: every label has a static master")
	}
	return nil
}

// parseStatic reads the masters of --static-master by label; that without one by "".
func parseStatic(s settings, labels []discovery.Label) (map[string]string, error) {
	named := map[string]string{}
	for _, v := range s.list("static-master") {
		m, err := parseLabelled(v)
		switch {
		case err != nil:
			return nil, err
		case named[m.label] != "" && m.label == "":
			return nil, v.fault("a second master without a label")
		case named[m.label] != "":
			return nil, v.fault("the label %q has a master already", m.label)
		case m.label != "" && !hasLabel(labels, m.label):
			return nil, v.fault("no listener has the label %q", m.label)
		}
		if err := checkMaster(m); err != nil {
			return nil, err
		}
		named[m.label] = m.address
	}
	return named, nil
}

// parseMaster reads the HOST:PORT of a master.
func parseMaster(v value) (string, error) {
	m, err := parseAddress(v)
	if err != nil {
		return "", err
	}
	return m.address, checkMaster(m)
}

func checkMaster(m labelled) error {
	if m.host == "" || m.port == 0 {
		return m.fault("a master needs a host and a port")
	}
	if err := discovery.CheckStatic(m.address); err != nil {
		return m.fault("%v", err)
	}
	return nil
}

func hasLabel(labels []discovery.Label, name string) bool {
	for _, l := range labels {
		if l.Name == name {
			return true
		}
	}
	return false
}
