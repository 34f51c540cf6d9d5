// Package run is the proof: what there is, what is done to it, and what must
// hold afterwards.
package run

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/consul"
	"github.com/rosproxy/rosproxy/bench/faults/internal/history"
	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
	"github.com/rosproxy/rosproxy/bench/faults/internal/toy"
	"github.com/rosproxy/rosproxy/bench/faults/internal/traffic"
	"github.com/rosproxy/rosproxy/bench/faults/internal/witness"
)

// The switches: what an instance has to do with Consul is on one of its own, so
// that it can be cut off from that alone.
const (
	dataLAN   = "data"
	consulLAN = "consul"
)

// instanceNames are the instances. Instance a follows the agent of its host, b
// the three servers, c both.
var instanceNames = []string{"a", "b", "c"}

// fenceAfter is that of the label lock, fenceTTL that of reports, and drainTimeout
// that of a drain.
const (
	fenceAfter   = 3 * time.Second
	fenceTTL     = 8 * time.Second
	drainTimeout = 4 * time.Second
)

// reports is where instances report what they have obeyed.
const reports = "fence"

// label is one that elects a master of its own.
type label struct {
	tier.Label
	term  uint64
	log   string        // file of the store of the present master
	state history.State // that all clients may know of
	known int           // entries that the store has had so far

	reports bool // its elections wait for fence reports

	doubtful []history.Op // not answered, and not carried out so far
}

// address is where a master serves the label.
func (l *label) address(m *toy.Master) netip.AddrPort { return m.Address[l.Name] }

func (l *label) candidate(m *toy.Master) consul.Candidate {
	return consul.Candidate{ID: l.Name + "-" + m.Name, Label: l.Name, Address: l.address(m)}
}

// World is all that there is.
type World struct {
	rosproxy     string // program
	raceDetector bool   // the program is built with it
	dir          string
	hosts        map[string]*lan.Host
	consul       *consul.Cluster
	agents       map[string]*consul.Agent // by instance
	tokens       map[string]consul.Secret // by instance
	masters      []*toy.Master
	master       int // who is elected, for every label
	labels       []*label
	instances    []*tier.Instance
	witness      map[string]*witness.Witness // by instance
	counted      map[string]*account         // by instance
	crowd        *traffic.Crowd
	began        time.Time
}

// newLabels are the three ways to follow an election: its announcement, its lock,
// and its lock with reports of what has been obeyed.
func newLabels() []*label {
	return []*label{
		{Label: tier.Label{Name: "tags", Port: 7801}},
		{Label: tier.Label{Name: "lock", Port: 7802, Key: "faults/lock/leader", More: fmt.Sprintf(", on-outage: fence, fence-after: %v", fenceAfter)}},
		{Label: tier.Label{Name: "lease", Port: 7803, Key: "faults/lease/leader", More: ", fence-report: " + reports}, reports: true},
	}
}

// rules are what an instance's token lets it do.
const rules = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } key_prefix "faults/" { policy = "read" } key_prefix "` + reports + `" { policy = "write" }`

// NewWorld makes the hosts, and starts all that runs on them.
func NewWorld(o Options, dir string) (*World, error) {
	w := &World{
		rosproxy: o.Rosproxy, dir: dir, hosts: map[string]*lan.Host{}, agents: map[string]*consul.Agent{}, tokens: map[string]consul.Secret{},
		witness: map[string]*witness.Witness{}, counted: map[string]*account{}, labels: newLabels(), began: time.Now(),
	}
	for _, step := range []func(Options) error{w.build, w.startConsul, w.startMasters, w.startInstances, w.startClients} {
		if err := step(o); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// build makes the hosts.
func (w *World) build(o Options) error {
	program, err := buildinfo.ReadFile(o.Rosproxy)
	if err != nil {
		return fmt.Errorf("read how %s was built: %w", o.Rosproxy, err)
	}
	w.raceDetector = slices.Contains(program.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
	n, err := lan.New(dataLAN, consulLAN)
	if err != nil {
		return err
	}
	cables := map[string][]string{
		"clients": {dataLAN, "10.78.0.2"},
		"control": {dataLAN, "10.78.0.3", consulLAN, "10.78.1.3"},
		"s1":      {consulLAN, "10.78.1.5"}, "s2": {consulLAN, "10.78.1.6"}, "s3": {consulLAN, "10.78.1.7"},
		"m1": {dataLAN, "10.78.0.21"}, "m2": {dataLAN, "10.78.0.22"}, "m3": {dataLAN, "10.78.0.23"},
	}
	for i, name := range instanceNames {
		cables[name] = []string{dataLAN, fmt.Sprintf("10.78.0.%d", 11+i), consulLAN, fmt.Sprintf("10.78.1.%d", 11+i)}
	}
	for name, c := range cables {
		if w.hosts[name], err = n.Host(name, c...); err != nil {
			return err
		}
	}
	return n.Introduce()
}

func (w *World) startConsul(o Options) (err error) {
	hosts := consul.Hosts{Switch: consulLAN, Control: w.hosts["control"], Servers: []*lan.Host{w.hosts["s1"], w.hosts["s2"], w.hosts["s3"]}}
	if w.consul, err = consul.Start(o.Consul, filepath.Join(w.dir, "consul"), hosts); err != nil {
		return err
	}
	for _, name := range []string{"a", "c"} {
		if w.agents[name], err = w.consul.AddClient(w.hosts[name]); err != nil {
			return err
		}
	}
	return nil
}

// startMasters starts the masters, and elects the first.
func (w *World) startMasters(Options) error {
	dir := filepath.Join(w.dir, "masters")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"m1", "m2", "m3"} {
		h := w.hosts[name]
		address := map[string]netip.AddrPort{}
		for _, l := range w.labels {
			address[l.Name] = netip.AddrPortFrom(h.IP(dataLAN), l.Port)
		}
		m := toy.New(name, h, dir, address)
		w.masters = append(w.masters, m)
		if err := m.Start(); err != nil {
			return err
		}
	}
	for _, l := range w.labels {
		if err := w.promote(l, w.masters[0]); err != nil {
			return err
		}
		l.state = history.State{Term: l.term, Last: "-"}
		err := w.announce(l, 0)
		if err == nil && l.Key != "" {
			err = w.consul.Lock(l.Key, l.address(w.masters[0]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// promote makes a master answer for a label, with what the one before has.
func (w *World) promote(l *label, m *toy.Master) error {
	if err := m.Promote(l.Name, l.term+1, l.log); err != nil {
		return err
	}
	l.term++
	l.log = m.Log(l.Name, l.term)
	return nil
}

func (w *World) startInstances(o Options) error {
	config := tier.Config{Binary: o.Rosproxy, Switch: dataLAN, Flags: []string{
		"--hold-timeout=2m", "--drain-grace=200ms", fmt.Sprint("--drain-timeout=", drainTimeout), "--upgrade-timeout=40s", fmt.Sprint("--fence-ttl=", fenceTTL),
	}}
	for _, l := range w.labels {
		config.Labels = append(config.Labels, l.Label)
	}
	servers := []string{w.consul.Servers[0].Addr, w.consul.Servers[1].Addr, w.consul.Servers[2].Addr}
	for _, name := range instanceNames {
		var follows []string
		if a := w.agents[name]; a != nil {
			follows = append(follows, a.Addr)
		}
		if name != "a" {
			follows = append(follows, servers...)
		}
		i, err := tier.New(name, w.hosts[name], w.hosts["control"], w.dir, config, follows...)
		if err != nil {
			return err
		}
		w.instances = append(w.instances, i)
		w.counted[name] = &account{}
		if err := w.newToken(i); err != nil {
			return err
		}
		one, err := witness.Watch(w.hosts[name], w.hosts[name].Device(dataLAN), 7801, 7899)
		if err != nil {
			return err
		}
		w.witness[name] = one
		if err := i.Start(); err != nil {
			return err
		}
	}
	for _, i := range w.instances {
		if err := i.AwaitReady(90 * time.Second); err != nil {
			return err
		}
		s, err := i.Status()
		if err != nil {
			return err
		}
		w.counted[i.Name].begin(s.PID)
	}
	return nil
}

// newToken gives an instance a token for Consul that is good.
func (w *World) newToken(i *tier.Instance) error {
	secret, err := w.consul.NewToken(rules)
	if err != nil {
		return err
	}
	w.tokens[i.Name] = secret
	return i.SetToken(secret.SecretID)
}

// startClients starts, for each label and instance, two clients that keep their
// connection, one that does not, and one that pumps.
func (w *World) startClients(Options) error {
	w.crowd = traffic.New(w.hosts["clients"], w.began)
	for _, l := range w.labels {
		for _, i := range w.instances {
			for _, kind := range []traffic.Kind{traffic.Long, traffic.Long, traffic.Short, traffic.Pump} {
				w.crowd.Add(kind, l.Name, i.Name, i.Address(l.Name))
			}
		}
	}
	return nil
}

// Close ends the clients and the watching; the box ends the rest.
func (w *World) Close() error {
	if w.crowd != nil {
		w.crowd.Close()
	}
	for _, one := range w.witness {
		one.Close()
	}
	return nil
}
