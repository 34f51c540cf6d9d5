package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

// between is the configuration of an instance beside an agent, whose master may be
// in either data centre of a pair.
func between(instance string, beside *realconsul.Agent) Config {
	c := realQuick(beside.Addr)
	c.Datacenters = []string{realconsul.DC1, realconsul.DC2}
	c.Reports = &Reports{Prefix: reportsAt, Instance: instance, TTL: 10 * time.Second}
	return c
}

// activate writes the entry into data centres by way of an agent.
func activate(t *testing.T, by *realconsul.Agent, e datacenter.Entry, datacenters ...string) {
	t.Helper()
	for _, dc := range datacenters {
		retry(t, "write the entry", func() error {
			_, err := by.Client().KV().Put(&api.KVPair{Key: DefaultDatacenterKey, Value: e.Encode()}, &api.WriteOptions{Datacenter: dc})
			return err
		})
	}
}

// masters registers worker 1 in dc1 and worker 2 in dc2.
func masters(t *testing.T, p *realconsul.Pair) {
	register(t, p.DC1, 1, "master")
	register(t, p.DC2, 2, "master")
}

// reportsIn are the reports in the data centre of an agent, by instance.
func reportsIn(t *testing.T, a *realconsul.Agent) map[string]fence.State {
	t.Helper()
	out := map[string]fence.State{}
	for _, e := range entries(t, a.Client()) {
		if s, ok := e.Labels["default"]; ok {
			out[e.Instance] = s
		}
	}
	return out
}

func (r *running) why() string { return r.Labels()[0].Why }

func TestMasterIsThatOfTheActiveDataCentre(t *testing.T) {
	p := realconsul.StartPair(t)
	masters(t, p)
	here, there := start(t, between("here", p.DC1)), start(t, between("there", p.DC2))
	for _, r := range []*running{here, there} {
		await(t, "nobody to be active", func() bool { return r.Labels()[0].State == Inactive })
		r.calls("default cut")
	}
	if s := here.Datacenters(); s.Active != "" || s.Why != datacenter.NobodyActive || s.Term != 0 {
		t.Errorf("got %+v; want nobody active", s)
	}

	if got := reportsIn(t, p.DC1); len(got) > 0 {
		t.Errorf("got reports %v without any entry; want nobody to wait for", got)
	}

	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 3}, "dc1", "dc2")
	here.calls("default cut", set1)
	there.calls("default cut", set1)
	await(t, "the reports in the data centre served", func() bool {
		in1, in2 := reportsIn(t, p.DC1), reportsIn(t, p.DC2)
		return in1["here"].Master != "" && in1["there"].Master != "" && in1["there"].Term == 3 && !in1["here"].Elsewhere && !in1["there"].Elsewhere &&
			in2["there"].Elsewhere && in2["there"].Term == 3 && len(in2) == 1
	})

	activate(t, p.DC2, datacenter.Entry{Term: 5}, "dc1", "dc2")
	here.calls("default cut", set1, "default cut")
	there.calls("default cut", set1, "default cut")
	await(t, "the term reported, and the other data centre's report left", func() bool {
		in1, in2 := reportsIn(t, p.DC1), reportsIn(t, p.DC2)
		return len(in1) == 1 && len(in2) == 1 && in1["here"] == fence.State{Term: 5, Elsewhere: true} && in2["there"] == fence.State{Term: 5, Elsewhere: true}
	})

	activate(t, p.DC2, datacenter.Entry{Active: "dc2", Term: 6}, "dc1", "dc2")
	here.calls("default cut", set1, "default cut", set2)
	there.calls("default cut", set1, "default cut", set2)
	s := there.Datacenters()
	if s.Own != "dc2" || s.Active != "dc2" || s.Term != 6 || len(s.All) != 2 || !s.All[0].Up || !s.All[1].Up {
		t.Errorf("got %+v; want dc2 its own and active, both up", s)
	}

	// What is older, gone or garbage changes nothing for those that remember.
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 4}, "dc1")
	if _, err := p.DC2.Client().KV().Put(&api.KVPair{Key: DefaultDatacenterKey, Value: []byte("garbage")}, nil); err != nil {
		t.Fatal(err)
	}
	await(t, "garbage to be seen", func() bool {
		s := there.Datacenters().All[1]
		return !s.Up && strings.Contains(s.Error, "not the JSON")
	})
	if _, err := p.DC2.Client().KV().Delete(DefaultDatacenterKey, nil); err != nil {
		t.Fatal(err)
	}
	await(t, "garbage to be gone", func() bool { return there.Datacenters().All[1].Up })
	time.Sleep(500 * time.Millisecond)
	here.calls("default cut", set1, "default cut", set2)
	there.calls("default cut", set1, "default cut", set2)
	if s := there.Datacenters(); s.Active != "dc2" || s.Term != 6 {
		t.Errorf("got %+v; want dc2 of term 6 remembered", s)
	}
}

func TestSpareHoldsWhileAnotherDataCentreIsActive(t *testing.T) {
	p := realconsul.StartPair(t)
	masters(t, p)
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 3}, "dc1", "dc2")
	c := between("spare", p.DC2)
	c.RemoteMaster = HoldRemote
	r := start(t, c)
	await(t, "the spare to stand by", func() bool { return r.Labels()[0].State == Standby })
	if got, want := r.why(), "active data centre is dc1"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	await(t, "its report", func() bool { return reportsIn(t, p.DC2)["spare"] == fence.State{Term: 3, Elsewhere: true} })
	if got := reportsIn(t, p.DC1); len(got) != 0 {
		t.Errorf("got reports %v where it serves nobody", got)
	}
	activate(t, p.DC1, datacenter.Entry{Active: "dc2", Term: 6}, "dc1", "dc2")
	r.calls("default cut", set2)
}

// TestDeadDataCentre: the one that is active dies; who runs in the other is cut by
// the lease, is told to serve its own, and whoever starts meanwhile serves nobody before.
func TestDeadDataCentre(t *testing.T) {
	p := realconsul.StartPair(t)
	masters(t, p)
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 3}, "dc1", "dc2")
	c := between("there", p.DC2)
	c.Reports.TTL = fence.MinTTL
	there := start(t, c)
	there.calls(set1)
	p.DC1.Kill()
	there.calls(set1, "default cut")
	late := start(t, between("late", p.DC2))
	await(t, "dc1 to be seen down", func() bool { s := late.Datacenters(); return !s.All[0].Up && s.All[1].Up && s.All[0].Error != "" })
	if a := there.Agents()[0]; !a.OK {
		t.Errorf("got the agent in trouble, %q, since another data centre is dead", a.Error)
	}
	activate(t, p.DC2, datacenter.Entry{Term: 5, Without: []string{"dc1"}}, "dc2")
	activate(t, p.DC2, datacenter.Entry{Active: "dc2", Term: 6, Without: []string{"dc1"}}, "dc2")
	await(t, "both to serve dc2's", func() bool {
		return there.Labels()[0].State == Found && late.Labels()[0].State == Found
	})
	for _, r := range []*running{there, late} {
		if all := r.list(); all[len(all)-1] != set2 || strings.Contains(fmt.Sprint(all[1:]), set1) {
			t.Errorf("got calls %q; want dc2's master at last, and dc1's never again", all)
		}
	}
	p.DC1.Start()
	p.AwaitJoined()
	back := start(t, between("back", p.DC1))
	await(t, "who starts in dc1 to serve dc2's", func() bool { return back.Labels()[0].State == Found })
	if all := back.list(); all[len(all)-1] != set2 || strings.Contains(fmt.Sprint(all), set1) {
		t.Errorf("got calls %q; want dc2's master alone", all)
	}
}

// TestWhoStartsWhileADataCentreCannotBeReadServesNobody: the newest entry may be there.
func TestWhoStartsWhileADataCentreCannotBeReadServesNobody(t *testing.T) {
	p := realconsul.StartPair(t)
	masters(t, p)
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 3}, "dc1", "dc2")
	runs := start(t, between("runs", p.DC1))
	runs.calls(set1)
	p.DC2.Kill()
	starts := start(t, between("starts", p.DC1))
	await(t, "the reason", func() bool { return strings.Contains(starts.why(), "data centre dc2 is not known") })
	if got := starts.list(); len(got) > 0 {
		t.Errorf("got calls %q; want none", got)
	}
	runs.calls(set1)
	p.DC2.Start()
	starts.calls(set1)
	runs.calls(set1)
}

// TestIsolatedDataCentreFencesWhereItIsToldTo: else it keeps its master.
func TestIsolatedDataCentreFencesWhereItIsToldTo(t *testing.T) {
	p := realconsul.StartPair(t)
	masters(t, p)
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 3}, "dc1", "dc2")
	c := between("fences", p.DC1)
	c.OnOutage, c.FenceAfter = Fence, time.Second
	fences, keeps := start(t, c), start(t, between("keeps", p.DC1))
	fences.calls(set1)
	keeps.calls(set1)
	p.DC2.Kill()
	fences.calls(set1, "default cut")
	keeps.calls(set1)
	if s := fences.Labels()[0].State; s != Unreachable {
		t.Errorf("got %q; want %q", s, Unreachable)
	}
	activate(t, p.DC1, datacenter.Entry{Active: "dc1", Term: 6, Without: []string{"dc2"}}, "dc1")
	fences.calls(set1, "default cut", set1)
	keeps.calls(set1)
}
