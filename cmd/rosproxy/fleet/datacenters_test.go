package fleet_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

// site is one data centre: on one host its Consul, an instance beside it, and two
// masters, of which one is elected.
type site struct {
	*consul
	name     string
	host     *host
	instance *instance
	one, two *master
}

// sites are two data centres, with a cable each to the rest of the world.
type sites struct {
	*fleet
	dc1, dc2 *site
}

// newSites starts two data centres, of which dc1 is the active one. The flags are
// those of dc1's instance, of dc2's, and of both.
func newSites(t *testing.T, of1, of2 []string, flags ...string) *sites {
	t.Helper()
	f := &fleet{t: t, network: newNetwork(t)}
	f.network.host("balancer", "10.77.0.10")
	s := &sites{fleet: f}
	s.dc1 = &site{name: "dc1", host: f.network.host("dc1", "10.77.0.31")}
	s.dc2 = &site{name: "dc2", host: f.network.host("dc2", "10.77.0.32")}
	for _, dc := range []*site{s.dc1, s.dc2} {
		dc.consul = startSite(t, dc.host, dc.name, s.other(dc).host.ip)
	}
	for _, dc := range []*site{s.dc1, s.dc2} {
		eventually(t, dc.name+" to answer for the other", func() bool { return dc.entry(s.other(dc).name) == nil })
	}
	dc1, dc2 := s.dc1, s.dc2
	dc1.one, dc1.two = dc1.startMaster("one", "10.77.0.41"), dc1.startMaster("two", "10.77.0.42")
	dc2.one, dc2.two = dc2.startMaster("one", "10.77.0.51"), dc2.startMaster("two", "10.77.0.52")
	for _, dc := range []*site{dc1, dc2} {
		dc.register(dc.one, dc.two)
	}
	s.activate(datacenter.Entry{Active: "dc1", Term: 3}, s.dc1, "dc1", "dc2")
	flags = append([]string{"--config=" + recipeFile(t, "config/datacenters.yaml"), "--fence-ttl=5s", "--send-proxy=v2"}, flags...)
	for i, dc := range []*site{s.dc1, s.dc2} {
		own := [][]string{of1, of2}[i]
		dc.instance = newInstance(t, dc.name, dc.host, slices.Concat(flags, own, []string{"--consul-addr=" + dc.address})...)
		dc.instance.args[0] = "--listen=default=" + dc.host.ip + ":" + proxyPort // the masters are on the same host
		dc.instance.start()
	}
	return s
}

func (s *sites) other(dc *site) *site {
	if dc == s.dc1 {
		return s.dc2
	}
	return s.dc1
}

// startSite starts a server that is a data centre of its own, and joins another.
func startSite(t *testing.T, h *host, dc, other string) *consul {
	t.Helper()
	p := h.start(t, "consul-"+dc, realconsul.Binary(t), "agent", "-dev", "-node", "server-"+dc, "-datacenter", dc, "-bind", h.ip, "-client", h.ip,
		"-log-level", "warn", "-hcl", "performance { raft_multiplier = 1 }", "-hcl", "disable_update_check = true",
		"-hcl", fmt.Sprintf("retry_join_wan = [%q]", other), "-hcl", `retry_interval_wan = "1s"`,
		"-hcl", "ports { dns = -1, grpc = -1, grpc_tls = -1 }")
	c := &consul{t: t, address: h.ip + ":" + consulPort}
	var err error
	c.client, err = api.NewClient(&api.Config{Address: c.address, HttpClient: &http.Client{Transport: h.web().Transport, Timeout: testTimeout}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Consul of "+dc, func() bool {
		p.mustRun()
		checks, _, err := c.client.Health().Node("server-"+dc, &api.QueryOptions{RequireConsistent: true})
		return err == nil && len(checks) > 0 && checks.AggregatedStatus() == api.HealthPassing
	})
	return c
}

const entryKey = "rosproxy/datacenter"

// entry reads the entry in a data centre by way of this one's Consul.
func (dc *site) entry(of string) error {
	_, _, err := dc.client.KV().Get(entryKey, &api.QueryOptions{Datacenter: of, RequireConsistent: true})
	return err
}

// activate writes an entry by way of a data centre's Consul.
func (s *sites) activate(e datacenter.Entry, by *site, datacenters ...string) {
	s.t.Helper()
	for _, dc := range datacenters {
		if _, err := by.client.KV().Put(&api.KVPair{Key: entryKey, Value: e.Encode()}, &api.WriteOptions{Datacenter: dc}); err != nil {
			s.t.Fatalf("write the entry in %s: %v", dc, err)
		}
	}
}

// recipeFile is a file of the recipes.
func recipeFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startMaster starts a master on the site's host, at an address of its own.
func (dc *site) startMaster(name, ip string) *master {
	dc.host.IP(dc.t, "addr add "+ip+"/32 dev lo")
	own := *dc.host
	own.ip = ip
	return startMaster(dc.t, dc.name+"-"+name, &own)
}

// connect opens a connection through the site's instance, from beside it.
func (dc *site) connect() net.Conn {
	dc.t.Helper()
	c, err := dc.host.dial(dc.t.Context(), net.JoinHostPort(dc.host.ip, proxyPort))
	if err != nil {
		dc.t.Fatalf("connect in %s: %v", dc.name, err)
	}
	dc.t.Cleanup(func() { c.Close() })
	return c
}

// awaitMaster waits until the site's instance names m.
func (dc *site) awaitMaster(m *master) {
	dc.t.Helper()
	eventually(dc.t, dc.name+" to follow "+m.name, func() bool {
		var s status
		code, _, err := dc.instance.adminFrom(dc.host, http.MethodGet, "/status", &s)
		now := s.Labels
		return err == nil && code == http.StatusOK && now[0].Master != nil && now[0].Master.Address == m.l.Addr().String()
	})
}

// open opens a connection through the site's instance, which must lead to m.
func (dc *site) open(m *master) net.Conn {
	dc.t.Helper()
	c := dc.connect()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if a, err := exchange(c, bufio.NewReader(c), "who"); err != nil || a.master != m.name {
		dc.t.Fatalf("a client in %s: got an answer of %q, %v; want one of %s", dc.name, a.master, err, m.name)
	}
	_ = c.SetDeadline(time.Time{})
	return c
}

// awaitReason waits until the site's instance is unready for a reason.
func (dc *site) awaitReason(reason string) {
	dc.t.Helper()
	eventually(dc.t, dc.name+" to say "+reason, func() bool {
		code, body, err := dc.instance.adminFrom(dc.host, http.MethodGet, "/readyz", nil)
		return err == nil && code == http.StatusServiceUnavailable && strings.Contains(body, reason)
	})
}

// cutOff waits until c is over, and answers when.
func cutOff(t *testing.T, c net.Conn) time.Time {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v; want the connection cut", n, err)
	}
	return time.Now()
}

// wantAlive checks that m still answers on c.
func wantAlive(t *testing.T, c net.Conn, m *master) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if a, err := exchange(c, bufio.NewReader(c), "again"); err != nil || a.master != m.name {
		t.Errorf("got an answer of %q, %v; want %s to go on", a.master, err, m.name)
	}
	_ = c.SetDeadline(time.Time{})
}

// failovers elects the site's other master again and again, and answers how long it
// took each time from the write until the old connection was over.
func (dc *site) failovers(count int) (took []time.Duration) {
	dc.t.Helper()
	from, to := dc.one, dc.two
	for range count {
		c := dc.open(from)
		began := time.Now()
		dc.elect(to)
		took = append(took, cutOff(dc.t, c).Sub(began))
		from, to = to, from
	}
	if from != dc.one {
		dc.t.Fatal("an odd number of failovers")
	}
	slices.Sort(took)
	return took
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// TestDataCentreThatIsCutOff pulls the cable between two data centres, both of which
// live: the active one goes on as before, and the instance in the other, whose clients
// are connected to the active one's master, ends them by the lease of its report.
func TestDataCentreThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := newSites(t, nil, nil)
	s.dc1.open(s.dc1.one)
	there := s.dc2.open(s.dc1.one)
	before := s.dc1.failovers(20)
	there.Close()
	s.dc2.awaitMaster(s.dc1.one) // it may be some milliseconds behind
	here, there := s.dc1.open(s.dc1.one), s.dc2.open(s.dc1.one)

	s.dc2.host.unplug()
	cutOff(t, there)
	s.dc2.awaitReason("consul unreachable: default")
	wantAlive(t, here, s.dc1.one)
	after := s.dc1.failovers(20)
	t.Logf("from the election to the cut, of 20 in the active data centre: median %v, worst %v while both can be read; %v, %v while the other cannot",
		median(before), before[19], median(after), after[19])

	s.dc2.host.plug()
	eventually(t, "the other to serve again", func() bool {
		code, _, err := s.dc2.instance.adminFrom(s.dc2.host, http.MethodGet, "/readyz", nil)
		return err == nil && code == http.StatusOK
	})
	s.dc2.open(s.dc1.one)
}

// TestIsolatedActiveDataCentre: the operator has activated the other one by force. The
// isolated one goes on with its own clients, unless it is told to fence.
func TestIsolatedActiveDataCentre(t *testing.T) {
	for policy, fences := range map[string]bool{"keep": false, "fence": true} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := newSites(t, []string{"--on-outage=" + policy, "--fence-after=2s"}, nil)
			here := s.dc1.open(s.dc1.one)
			s.dc1.host.unplug()
			if fences {
				cutOff(t, here)
				s.dc1.awaitReason("consul unreachable: default")
			}
			s.dc2.awaitReason("consul unreachable: default")
			s.activate(datacenter.Entry{Term: 5, Without: []string{"dc1"}}, s.dc2, "dc2")
			s.activate(datacenter.Entry{Active: "dc2", Term: 6, Without: []string{"dc1"}}, s.dc2, "dc2")
			s.dc2.open(s.dc2.one)
			if !fences {
				wantAlive(t, here, s.dc1.one)
				s.dc1.open(s.dc1.one)
			}

			s.dc1.host.plug()
			if !fences {
				cutOff(t, here)
			}
			eventually(t, "dc1 to serve dc2's master", func() bool {
				code, _, err := s.dc1.instance.adminFrom(s.dc1.host, http.MethodGet, "/readyz", nil)
				return err == nil && code == http.StatusOK
			})
			s.dc1.open(s.dc2.one)
		})
	}
}

// TestActivationCutsInBothDataCentres measures what a move of the active data centre
// takes, by way of the entries alone.
func TestActivationCutsInBothDataCentres(t *testing.T) {
	t.Parallel()
	s := newSites(t, nil, nil)
	var cut []time.Duration
	term, from, to := uint64(3), s.dc1, s.dc2
	for range 20 {
		inFrom, inTo := from.open(from.one), to.open(from.one)
		began := time.Now()
		s.activate(datacenter.Entry{Term: term + 2}, from, "dc1", "dc2")
		cut = append(cut, max(cutOff(t, inTo).Sub(began), cutOff(t, inFrom).Sub(began)))
		s.activate(datacenter.Entry{Active: to.name, Term: term + 3}, from, "dc1", "dc2")
		from.open(to.one)
		to.open(to.one)
		term, from, to = term+3, to, from
	}
	slices.Sort(cut)
	t.Logf("from the first write of an activation to the last close in both data centres, of 20: median %v, worst %v", median(cut), cut[19])
}

// TestUpgradeBetweenDataCentres: the next generation remembers nothing, and holds its
// clients until it has read both entries; the one before obeys an activation to its end.
func TestUpgradeBetweenDataCentres(t *testing.T) {
	t.Parallel()
	s := newSites(t, nil, nil)
	old := s.dc2.open(s.dc1.one)
	s.dc2.instance.upgrade()
	wantAlive(t, old, s.dc1.one)
	next := s.dc2.open(s.dc1.one)
	s.activate(datacenter.Entry{Term: 5}, s.dc1, "dc1", "dc2")
	cutOff(t, old)
	cutOff(t, next)
	s.activate(datacenter.Entry{Active: "dc2", Term: 6}, s.dc1, "dc1", "dc2")
	s.dc2.open(s.dc2.one)
	s.dc1.open(s.dc2.one)
}
