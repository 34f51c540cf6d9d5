package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

// twoDatacenters are a pair with a worker in each, who is master there.
type twoDatacenters struct {
	*testing.T
	*realconsul.Pair
	one, two *worker
	args     []string // of an instance, and of the command
}

func startTwoDatacenters(t *testing.T) *twoDatacenters {
	d := &twoDatacenters{
		T: t, Pair: realconsul.StartPair(t), one: startWorker(t, "one"), two: startWorker(t, "two"),
		args: []string{"--consul-datacenter=dc1", "--consul-datacenter=dc2", "--datacenter-key=app/active", "--fence-report=app/fence", "--fence-ttl=5s"},
	}
	register(t, d.DC1, d.one, "role=master")
	register(t, d.DC2, d.two, "role=master")
	return d
}

// instance starts one in the data centre of agent.
func (d *twoDatacenters) instance(agent *realconsul.Agent, name string, more ...string) *generations {
	return startGenerations(d.T, append(slices.Concat(d.args, more), "--consul-addr="+agent.Addr, "--instance="+name)...)
}

// command is the program as an operator calls it.
func (d *twoDatacenters) command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		d.Fatal(err)
	}
	c := exec.Command(self, slices.Concat([]string{"datacenter"}, args, d.args, []string{"--listen=127.0.0.1:0", "--consul-addr=" + d.DC1.Addr, "--consul-addr=" + d.DC2.Addr})...)
	c.Env = append(os.Environ(), asProgram+"=1", "GORACE=exitcode=66")
	return c
}

func (d *twoDatacenters) run(code int, args ...string) (stdout, stderr string) {
	d.Helper()
	c := d.command(args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState.ExitCode() != code {
		d.Fatalf("datacenter %s: got %v; want exit code %d\n%s%s", strings.Join(args, " "), err, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// entry is that in a data centre.
func (d *twoDatacenters) entry(agent *realconsul.Agent) (e datacenter.Entry) {
	d.Helper()
	pair, _, err := agent.Impatient().KV().Get("app/active", &api.QueryOptions{RequireConsistent: true})
	if err == nil && pair != nil {
		e, err = datacenter.Parse(pair.Value)
	}
	if err != nil {
		d.Fatal(err)
	}
	return e
}

func (d *twoDatacenters) served(g *generations, by *worker) *client {
	d.Helper()
	c := dialProxy(d.T, g.listen)
	c.greetedBy(by)
	return c
}

// TestDatacenterIsShownAndActivated: wherever an instance is, its clients are at the
// master of the active data centre, and at no other once the command has returned.
func TestDatacenterIsShownAndActivated(t *testing.T) {
	t.Parallel()
	d := startTwoDatacenters(t)
	a, b := d.instance(d.DC1, "a", "--hold-timeout=30s"), d.instance(d.DC2, "b", "--hold-timeout=30s")
	if out, _ := d.run(exitOK); !strings.Contains(out, "dc1: no entry") || !strings.Contains(out, "label default: master "+d.one.l.Addr().String()) {
		t.Errorf("got %s; want no entry, and the masters", out)
	}
	held := dialProxy(t, a.listen)
	out, _ := d.run(exitOK, "activate", "dc1")
	for _, want := range []string{"dc1: no entry", "dc1: nobody is active (term 2)", "all reports in dc1, dc2 have seen term 2", "dc2: dc1 is active (term 3)", "dc1 is the active data centre\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %s; want %q", out, want)
		}
	}
	held.greetedBy(d.one)
	at1, at2 := d.served(a, d.one), d.served(b, d.one)
	if out, _ := d.run(exitOK, "activate", "DC1"); !strings.Contains(out, "dc1 is the active data centre already") {
		t.Errorf("got %s; want that it is already", out)
	}
	at1.isAlive()
	d.run(exitOK, "activate", "dc2")
	wantOver(t, at1)
	wantOver(t, at2)
	d.served(a, d.two)
	d.served(b, d.two)

	type report struct {
		Instance string
		Labels   map[string]fence.State
	}
	var document struct {
		Datacenters []struct {
			Datacenter string
			Reachable  bool
			Entry      datacenter.Entry
			Masters    []struct{ Label, Master string }
			Reports    []report
		}
	}
	// That it serves is reported after it does, and to each data centre in turn.
	eventually(t, "the reports to say that dc2's master is served", func() bool {
		out, _ = d.run(exitOK, "show", "--json")
		document.Datacenters = nil
		if err := json.Unmarshal([]byte(out), &document); err != nil || len(document.Datacenters) != 2 {
			t.Fatalf("got %v, %s; want two data centres", err, out)
		}
		isBehind := func(r report) bool {
			s, ok := r.Labels["default"]
			return ok && (s.Term != 6 || s.Master != d.two.l.Addr().String())
		}
		return !slices.ContainsFunc(document.Datacenters[0].Reports, isBehind) && !slices.ContainsFunc(document.Datacenters[1].Reports, isBehind)
	})
	for i, dc := range document.Datacenters {
		master := []*worker{d.one, d.two}[i].l.Addr().String()
		if !dc.Reachable || dc.Entry.Active != "dc2" || dc.Entry.Term != 6 || len(dc.Masters) != 1 || dc.Masters[0].Master != master {
			t.Errorf("got %+v; want dc2 of term 6, master %s", dc, master)
		}
		if len(dc.Reports) == 0 {
			t.Errorf("got no reports in %s", dc.Datacenter)
		}
	}
	if out, _ := d.run(exitOK, "show"); !strings.Contains(out, "report of a, pid ") || !strings.Contains(out, "dc2 is active (term 6)") {
		t.Errorf("got %s; want the entry and the reports", out)
	}
	if _, errs := d.run(exitFailed, "activate", "dc1", "--force"); !strings.Contains(errs, "--force is not needed") {
		t.Errorf("got %s; want --force refused", errs)
	}
	if at2 = d.served(b, d.two); d.entry(d.DC1).Term != 6 {
		t.Error("what was refused has changed something")
	}
	at2.isAlive()
}

// TestDatacenterActivatedAgainAfterAKill at each line that the command prints.
func TestDatacenterActivatedAgainAfterAKill(t *testing.T) {
	t.Parallel()
	d := startTwoDatacenters(t)
	a := d.instance(d.DC1, "a", "--hold-timeout=30s")
	d.run(exitOK, "activate", "dc1")
	for line := 1; ; line++ {
		killed := d.killedAt(line, "activate", "dc2")
		d.run(exitOK, "activate", []string{"dc1", "dc2"}[line%2])
		d.served(a, []*worker{d.one, d.two}[line%2])
		if !killed {
			break
		}
		d.run(exitOK, "activate", "dc1")
	}
}

// killedAt runs the command and kills it when it has printed so many lines; false: it
// did not print as many.
func (d *twoDatacenters) killedAt(line int, args ...string) bool {
	d.Helper()
	c := d.command(args...)
	out, err := c.StdoutPipe()
	if err != nil {
		d.Fatal(err)
	}
	if err := c.Start(); err != nil {
		d.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		if n++; n == line {
			_ = c.Process.Kill()
			_, _ = io.Copy(io.Discard, out)
			_ = c.Wait()
			return true
		}
	}
	if err := c.Wait(); err != nil {
		d.Errorf("the command that was not killed: %v", err)
	}
	return false
}

// TestDatacenterThatIsDown is activated away from by --force alone, and serves nobody
// when it is back.
func TestDatacenterThatIsDown(t *testing.T) {
	t.Parallel()
	d := startTwoDatacenters(t)
	d.run(exitOK, "activate", "dc1")
	b := d.instance(d.DC2, "b", "--hold-timeout=60s")
	old := d.served(b, d.one)
	d.DC1.Kill()
	_, errs := d.run(exitFailed, "activate", "dc2")
	if !strings.Contains(errs, "data centre dc1 (") || !strings.Contains(errs, "nothing was written") {
		t.Errorf("got %s; want dc1 named", errs)
	}
	if out, _ := d.run(exitFailed, "show", "--timeout=10s"); !strings.Contains(out, "dc1: cannot be read") || !strings.Contains(out, "dc2: dc1 is active (term 3)") {
		t.Errorf("got %s; want what can be read, and what cannot", out)
	}
	out, errs := d.run(exitOK, "activate", "dc2", "--force")
	if !strings.Contains(out, "until the leases are over that dc1 may have given") || !strings.Contains(errs, "not verified: that data centre dc1 is down") {
		t.Errorf("got %s, %s; want what was forced named", out, errs)
	}
	wantOver(t, old)
	d.served(b, d.two)

	d.DC1.Start()
	d.AwaitJoined()
	live := d.served(b, d.two)
	a := d.instance(d.DC1, "a", "--remote-master=hold")
	if reasons := a.reasons(); !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, "active data centre is dc2") }) {
		t.Errorf("got %q; want that dc2 is the active one", reasons)
	}
	out, _ = d.run(exitOK, "activate", "dc2")
	if strings.Contains(out, "nobody") || d.entry(d.DC1).Without != nil || d.entry(d.DC2).Without != nil {
		t.Errorf("got %s, %+v; want dc1 with it again, and nobody cut", out, d.entry(d.DC2))
	}
	live.isAlive()
}

// reasons are those for which an instance is not ready.
func (g *generations) reasons() (reasons []string) {
	g.t.Helper()
	g.await("the active data centre", func() bool {
		resp, err := g.client.Get("http://rosproxy/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var ready struct{ Reasons []string }
		err = json.NewDecoder(resp.Body).Decode(&ready)
		reasons = ready.Reasons
		return err == nil && slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, "active data centre") })
	})
	return reasons
}

func TestDatacenterCommandThatMakesNoSense(t *testing.T) {
	d := &twoDatacenters{T: t, Pair: &realconsul.Pair{DC1: &realconsul.Agent{Addr: "127.0.0.1:1"}, DC2: &realconsul.Agent{Addr: "127.0.0.1:1"}}}
	two := []string{"--consul-datacenter=dc1", "--consul-datacenter=dc2"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"activate", "dc1"}, "--consul-datacenter: there are not several data centres"},
		{[]string{"show", "--consul-datacenter=dc1"}, "--consul-datacenter: there are not several data centres"},
		{append(two, "activate"), "the data centre to be activated is missing"},
		{append(two, "activate", "dc3"), `activate "dc3": none of the data centres dc1, dc2`},
		{append(two, "show", "dc1"), "show: it takes no data centre"},
		{append(two, "--force"), "--force: show forces nothing"},
		{append(two, "drain"), "drain"},
		{append(two, "activate", "dc1", "--timeout=never"), `--timeout "never"`},
		{append(two, "activate", "dc1", "--json"), "--json: only show has a document"},
	} {
		if out, errs := d.run(exitUsage, c.args...); !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("%q: got %s, %s; want %q", c.args, out, errs, c.want)
		}
	}
	began := time.Now()
	if _, errs := d.run(exitFailed, append(two, "activate", "dc1")...); !strings.Contains(errs, "dc1, which is to be the active one, cannot be read") {
		t.Errorf("no Consul: got %s after %v", errs, time.Since(began))
	}
}
