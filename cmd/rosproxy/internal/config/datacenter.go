package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// datacenterFlags say which data centres there are, as run is told it, and what is to
// become of them.
type datacenterFlags struct {
	Action     string `arg:"" optional:"" default:"show" enum:"show,activate" help:"show what is known of each data centre (the default), or activate one."`
	Datacenter string `arg:"" optional:"" name:"dc" help:"The data centre to be activated."`
	Force      bool   `once:"" help:"Activate without data centres that cannot be read, and past reports that stay behind. You vouch for it that those data centres are down, and stay down until the command has returned."`
	Timeout    string `once:"" placeholder:"D" help:"How long it may take; an entry that is being written is finished (for reports the longest TTL of them, and 10s)."`
	JSON       bool   `name:"json" help:"show: one JSON document, for programs."`

	Config           string   `placeholder:"FILE" help:"Configuration file of the instances."`
	Listen           []string `sep:"none" default:"default=:7800" placeholder:"[LABEL=]HOST:PORT" help:"A listener, as run has it: only its label counts. Repeatable."`
	Service          string   `default:"sync" placeholder:"NAME" help:"Consul service that the candidates register (${default})."`
	Tag              []string `sep:"none" default:"role=master" placeholder:"TAG" help:"Tag of the master (role=master). Repeatable."`
	LeaderKey        []string `sep:"none" placeholder:"[LABEL=]KEY" help:"Consul KV key that the leader holds. Repeatable."`
	LeaderFormat     string   `default:"address" placeholder:"patroni|address" help:"What the value of the leader key is (${default})."`
	LeaderLock       string   `default:"required" placeholder:"required|ignored" help:"Whether a session must hold the leader key (${default})."`
	LeaderReady      string   `placeholder:"api|catalog|now" help:"When a new leader counts (api with patroni, else now)."`
	StaticMaster     []string `sep:"none" placeholder:"[LABEL=]HOST:PORT" help:"A fixed master: its label has no part in this. Repeatable."`
	ConsulAddr       []string `sep:"none" placeholder:"ADDR" help:"Consul address (from the environment, else 127.0.0.1:8500). Repeatable: all are asked."`
	ConsulDatacenter []string `sep:"none" placeholder:"DC" help:"The data centres in one of which the master is. Repeatable."`
	DatacenterKey    string   `default:"rosproxy/datacenter" placeholder:"KEY" help:"Consul KV key of the entry that names the active one (${default})."`
	RemoteMaster     string   `default:"forward" placeholder:"forward|hold" help:"As run has it; it is of no consequence here (${default})."`
	FenceReport      string   `placeholder:"PREFIX" help:"Consul KV prefix of the reports (rosproxy/fence)."`
	Instance         string   `placeholder:"NAME" help:"As run has it; it is of no consequence here."`
	FenceTTL         string   `name:"fence-ttl" default:"20s" placeholder:"D" help:"TTL of the reports: --force waits until no lease can be left that a data centre has given (${default})."`
}

// Datacenters is what the command datacenter was told.
type Datacenters struct {
	Discovery discovery.Config // which data centres there are, and who is master in them
	Target    string           // to be activated; empty: they are shown
	Force     bool
	Timeout   time.Duration // 0: not given
}

func (f *datacenterFlags) load(s settings, c *Client) (err error) {
	d := &c.Datacenters
	switch {
	case f.Action == "activate" && f.Datacenter == "":
		return errors.New("activate: the data centre to be activated is missing")
	case f.Action == "show" && f.Datacenter != "":
		return errors.New("show: it takes no data centre, and shows all")
	case f.Action == "show" && f.Force:
		return errors.New("--force: show forces nothing")
	case f.Action == "activate" && f.JSON:
		return errors.New("--json: only show has a document")
	}
	d.Force = f.Force
	if f.Action == "show" { // for activate the variable is of no consequence
		if c.JSON, err = parseBool(s, "json"); err != nil {
			return err
		}
	}
	if d.Timeout, err = parseDuration(s, "timeout", time.Millisecond, day); err != nil {
		return err
	}
	if d.Discovery, err = loadPlaces(s); err != nil {
		return err
	}
	all := d.Discovery.AllDatacenters()
	if len(all) == 0 {
		return errors.New("--consul-datacenter: there are not several data centres")
	}
	if f.Action == "activate" {
		d.Target = strings.ToLower(f.Datacenter)
		if !slices.Contains(all, d.Target) {
			return fmt.Errorf("activate %q: none of the data centres %s", Trim(f.Datacenter, maxQuoted), strings.Join(all, ", "))
		}
	}
	return nil
}

// loadPlaces reads what run is told of Consul, from a command line that has no
// more than that, the environment and the file.
func loadPlaces(s settings) (discovery.Config, error) {
	flags := maps.Clone(s.flags)
	for _, f := range modelOf(new(grammar)).Flags {
		flags[f.Name] = f
	}
	s.flags = flags
	if path, ok := s.one(flagConfig); ok {
		var err error
		if s.file, err = readFile(path, s.flags); err != nil {
			return discovery.Config{}, err
		}
	}
	var c Config
	for _, load := range []func(settings, *Config) error{loadListeners, loadConsul, loadMasters, loadOwn, loadReports, checkDatacenters} {
		if err := load(s, &c); err != nil {
			return discovery.Config{}, err
		}
	}
	return c.Asking(), nil
}
