package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// pause sends POST /pause with the query, and answers what that is answered.
func (p *running) pause(query string) (s api.PauseState) {
	p.t.Helper()
	if code := p.request("POST", "/pause?"+query, &s); code != http.StatusAccepted {
		p.t.Fatalf("POST /pause?%s: got %d; want 202", query, code)
	}
	return s
}

func (p *running) resume() {
	p.t.Helper()
	var s api.PauseState
	if code := p.request("DELETE", "/pause?label=default", &s); code != http.StatusOK || s.Paused {
		p.t.Fatalf("DELETE /pause: got %d, %+v; want 200, not paused", code, s)
	}
}

func (p *running) paused() (all []api.Paused) {
	p.t.Helper()
	p.request("GET", "/pause", &all)
	return all
}

// awaitPaused waits for a pause. The readiness of p also tells of one that is over,
// until a read has named the master.
func (p *running) awaitPaused() {
	p.t.Helper()
	eventually(p.t, "a pause", func() bool { return len(p.paused()) > 0 })
}

func (p *running) awaitHeld(n int) {
	p.t.Helper()
	eventually(p.t, "held clients", func() bool { return p.label().Held == n })
}

func TestPauseHoldsUntilItIsEnded(t *testing.T) {
	consul, one := startConsul(t), startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--hold-timeout=1s")
	p.awaitReady()
	live := p.connected(one)
	if s := p.pause("label=default&by=op&for=1m"); !s.Paused || s.Active != 1 || s.Held != 0 || s.By != "op" || s.Until == nil {
		t.Errorf("POST /pause: got %+v; want one live, none held, by op", s)
	}
	held := p.dial()
	p.awaitHeld(1)
	p.awaitReason("paused: default")
	if l := p.label(); l.Paused == nil || time.Until(l.Paused.Until) < 30*time.Second {
		t.Errorf("/status: got paused %+v; want its end in a minute", l.Paused)
	}
	eventually(t, "a read that names the master", func() bool { a := p.paused(); return len(a) == 1 && a[0].Master != nil })
	if a := p.paused()[0]; a.Active != 1 || a.Held != 1 || *a.Master != one.l.Addr().String() {
		t.Errorf("GET /pause: got %+v, master %s; want one live and one held, master %s", a, *a.Master, one.l.Addr())
	}
	time.Sleep(1500 * time.Millisecond) // longer than the hold timeout
	live.isAlive()
	p.resume()
	held.greetedBy(one)
	p.awaitReady()
	p.saysOnce("paused", "label", "default", "by", "op", "level", "info")
	p.saysOnce("resumed", "label", "default", "by", "op", "reason", "resumed", "level", "info")
	if l := p.label(); l.Paused != nil || len(p.paused()) != 0 {
		t.Errorf("after the pause: got %+v, %+v; want null and none", l.Paused, p.paused())
	}
}

// TestClientsOfAPauseNeverGoToTheMasterOfBefore: though its end comes before
// this process could hear of the switchover.
func TestClientsOfAPauseNeverGoToTheMasterOfBefore(t *testing.T) {
	for name, end := range map[string]func(*running){
		"resumed": func(p *running) { p.resume() },
		"over":    func(p *running) { p.pause("label=default&for=1ms") },
	} {
		t.Run(name, func(t *testing.T) {
			consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
			consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
			p := startProgram(t, "--consul-addr="+consul.Addr, "--hold-timeout=1m")
			p.awaitReady()
			p.pause("label=default")
			held := p.dial()
			p.awaitHeld(1)
			answers := consul.Inject(consultest.Hang())
			consul.SetTags("one", asSlave, inGroup)
			consul.SetTags("two", asMaster, inGroup)
			end(p)
			p.saysOnce("resumed")
			late := p.dial()
			time.Sleep(300 * time.Millisecond)
			p.awaitHeld(2)
			p.awaitReason("paused: default")
			answers()
			held.greetedBy(two)
			late.greetedBy(two)
			p.awaitReady()
		})
	}
}

func TestFailoverByAccidentEndsAPause(t *testing.T) {
	agent := realconsul.StartDev(t)
	one, two := startWorker(t, "one"), startWorker(t, "two")
	register(t, agent, one, asMaster, inGroup)
	p := startProgram(t, "--consul-addr="+agent.Addr)
	p.awaitReady()
	live := p.connected(one)
	p.pause("label=default&for=10m")
	held := p.dial()
	p.awaitHeld(1)
	register(t, agent, one, asSlave, inGroup)
	register(t, agent, two, asMaster, inGroup)
	live.isReset()
	held.greetedBy(two)
	p.awaitReady()
	p.saysOnce("resumed", "reason", "another master was elected")
}

func TestPauseClosesIdleSessionsQuietly(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String())
	p.awaitReady()
	idle := p.connected(one)
	p.pause("label=default&close=quiet")
	if got, err := idle.line(); err != io.EOF {
		t.Errorf("idle client: got %q, %v; want the end of the stream", got, err)
	}
	eventually(t, "nothing live", func() bool { return p.paused()[0].Active == 0 })
	if got := p.metric(`connections_closed_total{label="default",reason="killed"}`); got != 1 {
		t.Errorf("closed as killed: got %v; want 1", got)
	}
}

// pauses asks for the pauses at the address that all generations share.
func (g *generations) pauses() (all []api.Paused) {
	g.t.Helper()
	g.askPause("GET", "", http.StatusOK, &all)
	return all
}

func (g *generations) askPause(method, query string, want int, v any) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, "http://rosproxy/pause"+query, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	a, err := g.client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != want {
		b, _ := io.ReadAll(a.Body)
		g.t.Fatalf("%s /pause%s: got %d %s; want %d", method, query, a.StatusCode, b, want)
	}
	if err := json.NewDecoder(a.Body).Decode(v); err != nil {
		g.t.Fatal(err)
	}
}

// TestUpgradeHandsAPauseOver: before the next generation accepts, with its owner
// and its end; and the connections of the generations before count as live.
func TestUpgradeHandsAPauseOver(t *testing.T) {
	consul, one := startConsul(t), startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	g := startGenerations(t, "--consul-addr="+consul.Addr)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	var s api.PauseState
	g.askPause("POST", "?label=default&by=op&for=10m", http.StatusAccepted, &s)
	held := dialProxy(t, g.listen)
	g.await("a held client", func() bool { return g.pauses()[0].Held == 1 })

	pid := g.first
	var late *client
	for n := range 3 { // the first generation is asked through the next, or, when that has ended, by the last itself
		pid = g.upgrade(pid)
		if n == 1 {
			late = dialProxy(t, g.listen)
		}
		var a []api.Paused
		g.await("the live and the held clients of the old processes", func() bool {
			a = g.pauses()
			return len(a) == 1 && a[0].Active == 1 && (a[0].Held == 1 || n > 0 && a[0].Held == 2)
		})
		if a[0].By != "op" || a[0].Until.Sub(*s.Until).Abs() > time.Second {
			t.Fatalf("pauses after an upgrade: got %+v; want that of op until %v", a, s.Until)
		}
	}
	g.await("two held clients", func() bool { return g.pauses()[0].Held == 2 })
	g.askPause("POST", "?label=default&by=else", http.StatusConflict, &api.Error{})
	g.await("a read that names the master", func() bool { return g.pauses()[0].Master != nil })
	live.isAlive()
	live.Close()
	g.await("nothing live", func() bool { return g.pauses()[0].Active == 0 })
	g.askPause("DELETE", "?label=default&by=op", http.StatusOK, &s)
	late.greetedBy(one)
	held.greetedBy(one)
	held.Close()
	g.awaitGone(g.first)
}

// TestOldGenerationClosesItsIdleSessionsForAPause that began after it had handed over.
func TestOldGenerationClosesItsIdleSessionsForAPause(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	idle := dialProxy(t, g.listen)
	idle.greetedBy(one)
	g.upgrade(g.first)
	var s api.PauseState
	if g.askPause("POST", "?label=default&close=quiet", http.StatusAccepted, &s); s.Active != 1 {
		t.Errorf("POST /pause: got %d live; want 1, that of the old process", s.Active)
	}
	if got, err := idle.line(); err != io.EOF {
		t.Errorf("idle client of the old process: got %q, %v; want the end of the stream", got, err)
	}
	g.await("nothing live", func() bool { return g.pauses()[0].Active == 0 })
	g.awaitGone(g.first)
}

// TestPauseIsKeptWhenAnUpgradeFails: by a program that takes over nothing, and
// by one that knows of no pauses.
func TestPauseIsKeptWhenAnUpgradeFails(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	var s api.PauseState
	g.askPause("POST", "?label=default&by=op&for=10m", http.StatusAccepted, &s)
	for n, script := range []string{"exit 3", "printf r >&3; exec head -c 1 <&3 >/dev/null"} {
		g.replace(script)
		g.signal(g.first, syscall.SIGUSR2)
		g.awaitLines("upgrade failed, going on as before", n+1)
	}
	if a := g.pauses(); len(a) != 1 || a[0].By != "op" {
		t.Fatalf("pauses: got %+v; want that of op", a)
	}
	held := dialProxy(t, g.listen)
	g.await("a held client", func() bool { return g.pauses()[0].Held == 1 })
	g.askPause("DELETE", "?label=default", http.StatusOK, &s)
	held.greetedBy(one)
}

// TestProcessThatServesAgainDecidesAboutPausesAgain: the one that took over has died.
func TestProcessThatServesAgainDecidesAboutPausesAgain(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	next := g.upgrade(g.first)
	var s api.PauseState
	g.askPause("POST", "?label=default&by=op&for=10m", http.StatusAccepted, &s)
	g.signal(next, syscall.SIGKILL)
	g.awaitLine("the process that took over has failed, serving again")
	g.awaitStatus("the first generation", func(s api.Status) bool { return s.PID == g.first })
	if a := g.pauses(); len(a) != 1 || a[0].By != "op" || a[0].Active != 1 {
		t.Errorf("pauses: got %+v; want that of op, with one live", a)
	}
	g.askPause("DELETE", "?label=default", http.StatusOK, &s)
	if strings.Contains(g.read(), "handed over to a new process\",\"error") {
		t.Error("a pause was refused")
	}
}
