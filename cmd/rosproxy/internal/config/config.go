// Package config reads the command line, the environment and a file into the
// typed, validated configuration of the program. It opens nothing but that file
// and the token file.
package config

import (
	"fmt"
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
	Static     map[string]string // label -> HOST:PORT; the other labels ask Consul
	Drain      drain.Config
	Admin      Admin
	AgentCheck Endpoint // zero: agent checks are not answered
	Log        Log
	OnFailover string // command of sh, run for what becomes of masters; empty: none
	// UpgradeTimeout is what a new process has to become ready.
	UpgradeTimeout time.Duration
	Warnings       []string // what is odd about it, but no fault
	Client         Client   // of a client command, which has nothing else of this

	listeners []listener // while it is loaded, in the order of Proxy.Listeners
}

// Asking is the part of Discovery that is for labels without a static master;
// it has no labels when there are none.
func (c Config) Asking() discovery.Config {
	d := c.Discovery
	d.Labels = nil
	for _, l := range c.Discovery.Labels {
		if c.Static[l.Name] == "" {
			d.Labels = append(d.Labels, l)
		}
	}
	return d
}

// Log says what is logged and how.
type Log struct {
	Level  zerolog.Level
	Format string // json or console; empty: console on a terminal, else json
}

// Bounds of what may be configured.
const (
	day          = 24 * time.Hour
	maxListens   = 4096
	maxShards    = 1024
	manyAsked    = 80 // questions; an agent takes two connections of each, and some to spare, up to 200 from one host
	maxConns     = 16 << 20
	maxKeepAlive = 32767 * time.Second // the kernel's MAX_TCP_KEEPIDLE

	minSocketBuffer, maxSocketBuffer = 4 << 10, 1 << 30
)

// SettingsOf are those of the label of l, its own or those of all.
func (c Config) SettingsOf(l proxy.Listener) proxy.Settings {
	if l.Settings != nil {
		return *l.Settings
	}
	return c.Proxy.Settings()
}

// Descriptors is how many the process may open besides those of clients,
// masters and its own endpoints, with so many shards.
func (c Config) Descriptors(shards int) int {
	const (
		base       = 32 // standard files, the log, Go's poller, name look-ups, an upgrade's line
		ofShard    = 4
		ofListener = 2  // and the copy for a successor
		ofHook     = 32 // commands of --on-failover that run at a time: their stderr, and what starts them
		ofAgent    = 8  // a Consul address: checks, connections that are being closed
	)
	n := base + ofShard*shards + ofListener*(len(c.Proxy.Listeners)+2)
	if c.OnFailover != "" {
		n += ofHook
	}
	if asking := c.Asking(); len(asking.Labels) > 0 {
		n += max(len(asking.Addresses), 1)*ofAgent + asking.Connections()
	}
	return n
}

// unlabelled is the name of a listener that has no label.
const unlabelled = "default"

// load gives the settings their types. The first fault is its error.
func load(s settings) (Config, error) {
	var c Config
	for _, load := range []func(settings, *Config) error{
		loadListeners, loadConsul, loadMasters, loadConnections, loadOwn, loadReports, checkDatacenters, checkPolicies, loadAdmin, loadAgentCheck, loadDrain, loadHook, loadLog,
	} {
		if err := load(s, &c); err != nil {
			return Config{}, err
		}
	}
	c.listeners = nil
	if n := c.Asking().Questions(); n > manyAsked {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d questions to Consul, each by two connections to each address: an agent takes 200 from one host, unless its limits.http_max_conns_per_client says more", n))
	}
	for _, name := range s.stray() {
		c.Warnings = append(c.Warnings, name+" is set, but there is no such flag")
	}
	return c, nil
}

func loadConnections(s settings, c *Config) error {
	p := &c.Proxy
	settings, err := loadSettings(s)
	if err != nil {
		return err
	}
	p.HoldTimeout, p.ConnectTimeout, p.IdleTimeout, p.DropFIN = settings.HoldTimeout, settings.ConnectTimeout, settings.IdleTimeout, settings.DropFIN
	p.ReleaseRate = settings.ReleaseRate
	p.AcceptProxy, p.AcceptProxyFrom, p.SendProxy = settings.AcceptProxy, settings.AcceptProxyFrom, settings.SendProxy
	if err := checkPeers(s, c); err != nil {
		return err
	}
	for _, d := range []struct {
		flag string
		to   *time.Duration
		most time.Duration
	}{
		{"half-close-timeout", &p.HalfCloseTimeout, 365 * day},
		{"keepalive", &p.KeepAlive, maxKeepAlive},
		{"user-timeout", &p.UserTimeout, day},
	} {
		if *d.to, err = parseDuration(s, d.flag, 0, d.most); err != nil {
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
		if *n.to, err = parseCount(s, n.flag, 1, n.most); err != nil {
			return err
		}
	}
	if p.SocketBuffer, err = parseSocketBuffer(s); err != nil {
		return err
	}
	p.Congestion, err = parseCongestion(s)
	return err
}

// loadSettings reads what a listener may have of its own of the data plane's settings.
func loadSettings(s settings) (p proxy.Settings, err error) {
	for _, d := range []struct {
		flag        string
		to          *time.Duration
		least, most time.Duration
	}{
		{"hold-timeout", &p.HoldTimeout, 0, day},
		{"connect-timeout", &p.ConnectTimeout, time.Millisecond, day},
		{"idle-timeout", &p.IdleTimeout, 0, 365 * day},
	} {
		if *d.to, err = parseDuration(s, d.flag, d.least, d.most); err != nil {
			return p, err
		}
	}
	if p.ReleaseRate, err = parseCount(s, "release-rate", 0, proxy.MaxReleaseRate); err != nil {
		return p, err
	}
	drop, err := parseChoice(s, "drop", "rst", "fin")
	if err != nil {
		return p, err
	}
	p.DropFIN = drop == "fin"
	return p, loadProxyProtocol(s, &p)
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
