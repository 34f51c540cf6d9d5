package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// doubles starts n agents of one cluster.
func doubles(t *testing.T, n int) []*consultest.Server {
	t.Helper()
	all := []*consultest.Server{double(t)}
	for i := 1; i < n; i++ {
		a, err := all[0].AddAgent(fmt.Sprintf("agent-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		all = append(all, a)
	}
	return all
}

func addresses(all []*consultest.Server) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Addr)
	}
	return out
}

func TestFailoverIsSeenPastAnAgentThatIsNotWell(t *testing.T) {
	for _, tc := range []struct {
		name string
		ill  func(*consultest.Server)
	}{
		{"dead", (*consultest.Server).Stop},
		{"hung", func(s *consultest.Server) { s.Inject(consultest.Hang()) }},
		{"lagging", func(s *consultest.Server) { s.Lag() }},
		{"denied", func(s *consultest.Server) { s.Inject(consultest.Denied()) }},
	} {
		for ill := range 2 {
			t.Run(fmt.Sprintf("%s agent %d", tc.name, ill), func(t *testing.T) {
				t.Parallel()
				all := doubles(t, 2)
				r := start(t, quick(addresses(all)...))
				r.calls(set1)
				r.heard(0, 1)
				tc.ill(all[ill])
				failover(all[0])
				r.calls(set1, set2)
				r.heard(1 - ill)
				r.heard(1 - ill)
				r.calls(set1, set2) // and nothing rolled back
			})
		}
	}
}

func TestLaggingAgentLeftAloneDoesNotRollBack(t *testing.T) {
	t.Parallel()
	all := doubles(t, 2)
	c := quick(addresses(all)...)
	c.RegressAfter = time.Hour
	r := start(t, c)
	r.calls(set1)
	r.heard(0, 1)
	undo := all[1].Lag()
	failover(all[0])
	r.calls(set1, set2)
	all[0].Stop()
	await(t, "errors of the dead agent", func() bool { return r.agent(0).Errors > 5 })
	r.heard(1)
	r.calls(set1, set2)
	undo()
	all[0].SetTags("sync-1", "role=master") // seen through the one that lagged
	r.calls(set1, set2, set1)
}

func TestAllAgentsComeBackAtALowerIndex(t *testing.T) {
	t.Parallel()
	all := doubles(t, 3)
	for range 50 { // an index to fall from
		all[0].SetCheck("sync-2", consultest.Critical, "")
		all[0].SetCheck("sync-2", consultest.Passing, "")
	}
	r := start(t, quick(addresses(all)...))
	r.calls(set1)
	r.heard(0, 1, 2)
	all[0].Restore(20)
	failover(all[0])
	r.calls(set1, set2)
	r.heard(0, 1, 2)
	all[0].SetTags("sync-1", "role=master")
	r.calls(set1, set2, set1)
	resets := uint64(0)
	for _, a := range r.Agents() {
		resets += a.IndexResets
	}
	if resets == 0 {
		t.Error("no index reset was counted")
	}
}

func TestWipedConsulHoldsAndFollowsTheNewRegistrations(t *testing.T) {
	t.Parallel()
	s := double(t)
	failover(s)
	failover(s)
	r := start(t, quick(s.Addr))
	r.calls(set2)
	s.Restart() // a dev agent: empty, and its index starts over
	r.calls(set2, "default clear")
	r.state(None, 0)
	workers(s)
	r.calls(set2, "default clear", set1)
	if a := r.agent(0); a.IndexResets == 0 {
		t.Error("no index reset was counted")
	}
}

func TestSameAddressTwiceIsOneAgent(t *testing.T) {
	s := double(t)
	src, err := newConsul(quick(s.Addr, s.Addr), nopLog, hostname.SystemLookup)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(src.Agents()); n != 1 {
		t.Errorf("got %d agents; want 1", n)
	}
}

func TestAgentsAreNamedAsTheOperatorWroteThem(t *testing.T) {
	t.Parallel()
	s := double(t)
	want := []string{s.Addr, "http://" + s.Addr, "http://localhost:" + port(s.Addr) + "/"}
	r := start(t, quick(want...))
	await(t, "all agents", func() bool { return r.agent(0).OK && r.agent(1).OK && r.agent(2).OK })
	for i, a := range r.Agents() {
		if a.Address != want[i] || a.Index == 0 || a.LastContact.IsZero() {
			t.Errorf("got agent %+v; want address %s, an index and a time", a, want[i])
		}
	}
}

// TestCheckDoubtsTheDataCentreThatIsNamed: an agent answers 500 for one that it does not know.
func TestCheckDoubtsTheDataCentreThatIsNamed(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Inject(consultest.Status(500, "No path to datacenter"))
	for dc, want := range map[string]string{"": `"; check the address`, "dc9": `check the name of the data centre "dc9"`} {
		c := quick(s.Addr)
		c.Datacenter = dc
		source, err := NewConsul(c, nopLog)
		if err != nil {
			t.Fatal(err)
		}
		if err := source.Check(t.Context())[0].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("data centre %q: got error %v; want it to say %s", dc, err, want)
		}
	}
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	s, dead, denied := double(t), double(t), double(t)
	dead.Stop()
	denied.Inject(consultest.Denied())
	s.SetTags("sync-2", "role=master")
	s.Register(consultest.Service{ID: "sync-3", Name: "sync", Port: 0, Tags: []string{"role=master"}})
	c := quick(s.Addr, dead.Addr, denied.Addr)
	c.Labels = append(c.Labels, Label{Name: "b", Tagged: true})
	src, err := NewConsul(c, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	got := src.Check(t.Context())
	if len(got) != 3 {
		t.Fatalf("got %d checks; want 3", len(got))
	}
	well := got[0]
	if well.Err != nil || well.Address != s.Addr || well.Leader == "" || well.Version == "" || len(well.Labels) != 2 {
		t.Fatalf("got %+v; want one that is well, with leader and version", well)
	}
	if m := well.Labels[0].Masters; len(m) != 2 || m[0].ServiceID != "sync-2" || m[1].ServiceID != "sync-1" {
		t.Errorf("got masters %v; want sync-2, then sync-1", m)
	}
	if in := well.Labels[0].Invalid; len(in) != 1 || !strings.Contains(in[0], "port 0") {
		t.Errorf("got invalid %v; want the one with port 0", in)
	}
	if l := well.Labels[1]; l.Label != "b" || l.Err != nil || len(l.Masters) != 0 {
		t.Errorf("got %+v; want label b without masters and without an error", l)
	}
	if err := got[1].Err; err == nil || !strings.Contains(err.Error(), "cannot be reached") || !strings.Contains(err.Error(), dead.Addr) {
		t.Errorf("got error %v; want that %s cannot be reached", err, dead.Addr)
	}
	if err := got[2].Err; err == nil || !strings.Contains(err.Error(), "denied") || !strings.Contains(err.Error(), "service:read") {
		t.Errorf("got error %v; want that access is denied, and the rights that are needed", err)
	}
}
