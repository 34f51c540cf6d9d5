// Package config reads the command line and the environment into the typed,
// validated configuration of the program. It opens nothing but the token file.
package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// Config is the validated configuration of the program.
type Config struct {
	Proxy      proxy.Config
	Discovery  discovery.Config
	Static     map[string]string // label -> HOST:PORT; nil: ask Consul
	Drain      drain.Config
	Admin      Admin
	AgentCheck Endpoint // zero: agent checks are not answered
	Log        Log
	// UpgradeTimeout is what a new process has to become ready.
	UpgradeTimeout time.Duration
	Warnings       []string // what is odd about it, but no fault
}

// Log says what is logged and how.
type Log struct {
	Level  zerolog.Level
	Format string // json or console; empty: console on a terminal, else json
}

// Bounds of what may be configured.
const (
	day          = 24 * time.Hour
	maxListens   = 256
	maxShards    = 1024
	maxConns     = 16 << 20
	maxKeepAlive = 32767 * time.Second // the kernel's MAX_TCP_KEEPIDLE
)

// Descriptors is how many the process may open besides those of clients,
// masters and its own endpoints, with so many shards.
func (c Config) Descriptors(shards int) int {
	const (
		base       = 32 // standard files, the log, Go's poller, name look-ups, an upgrade's line
		ofShard    = 4
		ofListener = 2 // and the copy for a successor
		ofAgent    = 8 // a Consul address: checks, connections that are being closed
	)
	n := base + ofShard*shards + ofListener*(len(c.Proxy.Listeners)+2)
	if c.Static == nil {
		n += max(len(c.Discovery.Addresses), 1)*ofAgent + c.Discovery.Connections()
	}
	return n
}

// unlabelled is the name of a listener that has no label.
const unlabelled = "default"

// load gives the settings their types. The first fault is its error.
func load(s settings) (Config, error) {
	var c Config
	for _, load := range []func(settings, *Config) error{
		loadListeners, loadConsul, loadStatic, loadConnections, loadProxyProtocol, loadAdmin, loadAgentCheck, loadDrain, loadLog,
	} {
		if err := load(s, &c); err != nil {
			return Config{}, err
		}
	}
	for _, name := range s.stray() {
		c.Warnings = append(c.Warnings, name+" is set, but there is no such flag")
	}
	return c, nil
}

func loadListeners(s settings, c *Config) error {
	labels := map[string]bool{}    // in lower case, as Consul compares tags
	addresses := map[string]bool{} // HOST:PORT as written
	for _, v := range s.list("listen") {
		l, err := parseLabelled(v)
		if err != nil {
			return err
		}
		label := discovery.Label{Name: l.label, Tagged: true}
		if l.label == "" {
			label = discovery.Label{Name: unlabelled}
		}
		switch key := strings.ToLower(label.Name); {
		case labels[key]:
			return v.fault("the label %q has a listener already", label.Name)
		case l.port != 0 && addresses[l.address]:
			return v.fault("the address has a listener already")
		case len(c.Proxy.Listeners) == maxListens:
			return v.fault("more than %d listeners", maxListens)
		default:
			labels[key], addresses[l.address] = true, true
		}
		c.Discovery.Labels = append(c.Discovery.Labels, label)
		c.Proxy.Listeners = append(c.Proxy.Listeners, proxy.Listener{Label: label.Name, Address: l.address})
	}
	return nil
}

func loadConsul(s settings, c *Config) error {
	d := &c.Discovery
	service, _ := s.one("service")
	if service.text == "" || !isPlain(service.text) || strings.ContainsAny(service.text, "/?#%") {
		return service.fault("not the name of a service")
	}
	d.Service = service.text
	for _, v := range s.list("tag") {
		if v.text == "" || !isPlain(v.text) {
			return v.fault("not a tag")
		}
		d.Tags = append(d.Tags, v.text)
	}
	for _, v := range s.list("consul-addr") {
		if v.text == "" || !isPlain(v.text) {
			return v.fault("not an address of Consul")
		}
		d.Addresses = append(d.Addresses, v.text)
	}
	if v, ok := s.one("consul-datacenter"); ok {
		if v.text == "" || !isPlain(v.text) {
			return v.fault("not the name of a data centre")
		}
		d.Datacenter = v.text
	}
	return loadPolicies(s, d)
}

func loadPolicies(s settings, d *discovery.Config) error {
	outage, err := parseChoice(s, "on-outage", "keep", "fence")
	if err != nil {
		return err
	}
	if outage == "fence" {
		d.OnOutage = discovery.Fence
	}
	if d.FenceAfter, err = parseDuration(s, "fence-after", time.Second, 30*day); err != nil {
		return err
	}
	if d.VerifyEvery, err = parseDuration(s, "verify-every", 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	conflict, err := parseChoice(s, "on-conflict", "newest", "refuse")
	if err != nil {
		return err
	}
	if conflict == "refuse" {
		d.OnConflict = discovery.Refuse
	}
	return nil
}

// loadStatic reads the fixed masters. One without a label serves every
// listener that has none of its own.
func loadStatic(s settings, c *Config) error {
	values := s.list("static-master")
	if len(values) == 0 {
		return nil
	}
	own := map[string]string{}
	for _, v := range values {
		m, err := parseLabelled(v)
		switch {
		case err != nil:
			return err
		case m.host == "" || m.port == 0:
			return v.fault("a master needs a host and a port")
		case own[m.label] != "" && m.label == "":
			return v.fault("a second master without a label")
		case own[m.label] != "":
			return v.fault("the label %q has a master already", m.label)
		case m.label != "" && !hasLabel(c.Discovery.Labels, m.label):
			return v.fault("no --listen has the label %q", m.label)
		}
		own[m.label] = m.address
	}
	c.Static = map[string]string{}
	for _, l := range c.Discovery.Labels {
		address := own[l.Name]
		if address == "" {
			address = own[""]
		}
		if address == "" {
			return values[0].fault("the listener %q has no master; give one for it too, or one without a label", l.Name)
		}
		c.Static[l.Name] = address
	}
	if s.explicit("consul-addr") {
		c.Warnings = append(c.Warnings, "--consul-addr has no effect with --static-master")
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

func loadConnections(s settings, c *Config) error {
	p := &c.Proxy
	for _, d := range []struct {
		flag        string
		to          *time.Duration
		least, most time.Duration
	}{
		{"hold-timeout", &p.HoldTimeout, 0, day},
		{"connect-timeout", &p.ConnectTimeout, time.Millisecond, day},
		{"idle-timeout", &p.IdleTimeout, 0, 365 * day},
		{"half-close-timeout", &p.HalfCloseTimeout, 0, 365 * day},
		{"keepalive", &p.KeepAlive, 0, maxKeepAlive},
		{"user-timeout", &p.UserTimeout, 0, day},
	} {
		var err error
		if *d.to, err = parseDuration(s, d.flag, d.least, d.most); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		flag string
		to   *int
		most int
	}{
		{"hold-max", &p.HoldMax, maxConns},
		{"max-conns", &p.MaxConns, maxConns},
		{"shards", &p.Shards, maxShards},
	} {
		var err error
		if *n.to, err = parseCount(s, n.flag, n.most); err != nil {
			return err
		}
	}
	drop, err := parseChoice(s, "drop", "rst", "fin")
	p.DropFIN = drop == "fin"
	return err
}

func loadDrain(s settings, c *Config) (err error) {
	if c.Drain.Grace, err = parseDuration(s, "drain-grace", 0, drain.MaxDuration); err != nil {
		return err
	}
	if c.Drain.Timeout, err = parseDuration(s, "drain-timeout", 0, drain.MaxDuration); err != nil {
		return err
	}
	if c.UpgradeTimeout, err = parseDuration(s, "upgrade-timeout", time.Millisecond, day); err != nil {
		return err
	}
	if c.Drain.Grace > c.Drain.Timeout {
		c.Warnings = append(c.Warnings, fmt.Sprintf("--drain-grace %v is longer than --drain-timeout %v, which ends it",
			c.Drain.Grace, c.Drain.Timeout))
	}
	return nil
}

func loadLog(s settings, c *Config) error {
	level, err := parseChoice(s, "log-level", "trace", "debug", "info", "warn", "error")
	if err != nil {
		return err
	}
	if c.Log.Format, err = parseChoice(s, "log-format", "json", "console"); err != nil {
		return err
	}
	if c.Log.Level, err = zerolog.ParseLevel(level); err != nil {
		return fmt.Errorf("parse log level: %w", err)
	}
	c.Proxy.LogConnections, err = parseBool(s, "log-connections")
	return err
}
