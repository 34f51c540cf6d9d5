package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// probes gives the code of /readyz with a query.
func (p *running) probes(query string) int {
	p.t.Helper()
	var v map[string]any
	return p.request("GET", "/readyz?"+query, &v)
}

// agent gives the answer to an agent check that has sent a line.
func (p *running) agent(line string) string {
	p.t.Helper()
	return agentSays(p.t, "tcp", p.agentAddress(), line)
}

// TestProbesOfOneLabelAreNotAnsweredForAnother: each label has a backend of its
// own in the balancer.
func TestProbesOfOneLabelAreNotAnsweredForAnother(t *testing.T) {
	consul := startConsul(t)
	one, two := startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, "label=europe"))
	consul.Register(two.service(asMaster, "label=asia"))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--listen=europe=127.0.0.1:0", "--listen=asia=127.0.0.1:0", "--agent-check-listen=127.0.0.1:0")
	p.awaitReady()
	consul.SetTags("two", asSlave, "label=asia")
	p.awaitReason("no master: asia")
	for query, want := range map[string]int{
		"label=europe":            http.StatusOK,
		"label=asia":              http.StatusServiceUnavailable,
		"label=europe&label=asia": http.StatusServiceUnavailable,
		"label=asia&hold=1h":      http.StatusOK,
		"hold=1h":                 http.StatusOK,
		"label=africa":            http.StatusBadRequest,
		"label=asia&hold=long":    http.StatusBadRequest,
	} {
		if got := p.probes(query); got != want {
			t.Errorf("/readyz?%s: got %d; want %d", query, got, want)
		}
	}
	for line, want := range map[string]string{
		"label=europe\n":         "up ready\n",
		"label=asia\n":           "down ready #no master: asia\n",
		"label=asia hold=1h\n":   "up ready\n",
		"label=africa hold=1h\n": `down ready #label "africa": unknown label` + "\n",
		"":                       "down ready #no master: asia\n",
		"europe\n":               "down ready #no master: asia\n",
	} {
		if got := p.agent(line); got != want {
			t.Errorf("agent check that sent %q: got %q; want %q", line, got, want)
		}
	}
}

// TestLabelIsHeldSinceItLostItsMasterWhateverTookIt: until the next is there it
// is ready for who asks with a hold, and /status says since when.
func TestLabelIsHeldSinceItLostItsMasterWhateverTookIt(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		flags        []string
		lose, back   func(*consultest.Server, *worker)
	}{
		{"nobody is elected", "no master: default", nil,
			func(c *consultest.Server, _ *worker) { c.SetTags("one", asSlave, inGroup) },
			func(c *consultest.Server, _ *worker) { c.SetTags("one", asMaster, inGroup) }},
		{"two claim to be master", "conflict: default", []string{"--on-conflict=refuse"},
			func(c *consultest.Server, two *worker) { c.Register(two.service(asMaster, inGroup)) },
			func(c *consultest.Server, two *worker) { c.Deregister("two") }},
		{"Consul is away, and that is fenced", "consul unreachable: default", []string{"--on-outage=fence", "--fence-after=1s"},
			func(c *consultest.Server, _ *worker) { c.Stop() },
			func(c *consultest.Server, _ *worker) { c.Start() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			consul, _, p := follows(t, c.flags...)
			two := startWorker(t, "two")
			if since := p.label().LostSince; since != nil {
				t.Errorf("with a master: got lost_since %v; want null", since)
			}
			before := time.Now().Truncate(time.Millisecond)
			c.lose(consul, two)
			p.awaitReason(c.reason)
			var since *time.Time
			eventually(t, "lost_since", func() bool { // discovery knows it a moment before
				since = p.label().LostSince
				return since != nil
			})
			if since.Before(before) || since.After(time.Now()) {
				t.Fatalf("got lost_since %v; want a time after %v", since, before)
			}
			if got := p.probes("hold=1h"); got != http.StatusOK {
				t.Errorf("with hold=1h: got %d; want 200", got)
			}
			if got := p.probes("hold=1ns"); got != http.StatusServiceUnavailable {
				t.Errorf("with the hold over: got %d; want 503", got)
			}
			if again := p.label().LostSince; again == nil || !again.Equal(*since) {
				t.Errorf("got lost_since %v; want %v as before", again, since)
			}
			c.back(consul, two)
			p.awaitReady()
			if since := p.label().LostSince; since != nil {
				t.Errorf("with a master again: got lost_since %v; want null", since)
			}
		})
	}
}

// TestNoHoldMakesAColdStartReady: nobody knows for how long the label has had no master.
func TestNoHoldMakesAColdStartReady(t *testing.T) {
	away := startConsul(t)
	away.Stop()
	why := " (Consul does not answer: dial tcp " + away.Addr + ": connect: connection refused)"
	for consul, reason := range map[*consultest.Server]string{away: "starting: default", startConsul(t): "no master: default"} {
		p := startProgram(t, "--consul-addr="+consul.Addr, "--agent-check-listen=127.0.0.1:0")
		p.awaitReason(reason)
		if got := p.probes("hold=1h"); got != http.StatusServiceUnavailable {
			t.Errorf("%s, with hold=1h: got %d; want 503", reason, got)
		}
		more := ""
		if consul == away {
			more = why
		}
		eventually(t, "an agent check with hold=1h to be answered "+reason+more, func() bool {
			return p.agent("hold=1h\n") == "down ready #"+reason+more+"\n"
		})
		if since := p.label().LostSince; since != nil {
			t.Errorf("%s: got lost_since %v; want null", reason, since)
		}
	}
}

// TestAgentCheckWaitsForALineThatComesALittleLater: behind the end of the
// handshake. On a busy machine that may be too late, but not each time.
func TestAgentCheckWaitsForALineThatComesALittleLater(t *testing.T) {
	_, _, p := follows(t, "--agent-check-listen=127.0.0.1:0")
	address := p.agentAddress()
	var got string
	for range 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		got = finishAgentCheck(t, c, "label=default ", "hold=soon\nlabel=nobody\n")
		if strings.Contains(got, `hold "soon"`) {
			return
		}
	}
	t.Errorf("got %q each time; want the first line answered", got)
}

// TestHeldClientsAreReleasedAtTheRateOfTheFlag: the tenth a second after the first, at the earliest.
func TestHeldClientsAreReleasedAtTheRateOfTheFlag(t *testing.T) {
	consul := startConsul(t)
	p := startProgram(t, "--consul-addr="+consul.Addr, "--hold-timeout=1m", "--release-rate=9")
	p.awaitReason("no master: default")
	var held []*client
	for range 10 {
		held = append(held, p.dial())
	}
	eventually(t, "the clients to be held", func() bool { return p.label().Held == len(held) })
	one := startWorker(t, "one")
	begun := time.Now()
	consul.Register(one.service(asMaster, inGroup))
	for _, c := range held {
		c.greetedBy(one)
	}
	if passed := time.Since(begun); passed < time.Second {
		t.Errorf("10 clients at 9 a second: got all served after %v; want it after 1s at the earliest", passed)
	}
}
