package main

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// awaitEvents waits until /status has these events, in this order, after those
// that have been there before.
func (p *running) awaitEvents(want ...string) []api.Event {
	p.t.Helper()
	var all []api.Event
	defer func() {
		if p.t.Failed() {
			p.t.Logf("events: %v", all)
		}
	}()
	eventually(p.t, "the events of /status", func() bool {
		all = p.status().Events
		var names []string
		for _, e := range all {
			names = append(names, e["event"].(string))
		}
		return slices.Equal(names, want)
	})
	return all
}

// TestStatusHasTheEventsOfTheLog: each event with all that its line says, whatever
// the level of the log.
func TestStatusHasTheEventsOfTheLog(t *testing.T) {
	consul, one, p := follows(t)
	p.connected(one)
	consul.SetTags("one", asSlave, inGroup)
	p.awaitEvents("lost")
	consul.SetTags("one", asMaster, inGroup)
	p.awaitEvents("lost", "back")
	two := startWorker(t, "two")
	consul.Register(two.service(asMaster, inGroup))
	consul.SetTags("one", asSlave, inGroup)
	p.awaitEvents("lost", "back", "failover")
	p.pause("label=default&by=op")
	p.resume()
	var v map[string]any
	p.request("POST", "/drain?grace=1h", &v)
	p.request("DELETE", "/drain", &v)
	all := p.awaitEvents("lost", "back", "failover", "pause", "resume", "drain", "drain")
	for i, message := range []string{"master lost", "master back", "failover", "paused", "resumed", "drain started", "drain undone"} {
		p.hasTheFieldsOfTheLine(all[i], message)
	}
	if failover := all[2]; failover["label"] != "default" || failover["dropped"] != 1.0 || failover["id"] != p.label().LastFailover.ID {
		t.Errorf("got %v; want the failover of last_failover", failover)
	}
}

// hasTheFieldsOfTheLine checks that event is the one line with that message. A time of
// day, which /status has in UTC and to the millisecond, is the same second.
func (p *running) hasTheFieldsOfTheLine(event api.Event, message string) {
	t := p.t
	t.Helper()
	line := p.saysOnce(message)
	got := maps.Clone(event)
	if d := timeOf(t, got["at"]).Sub(timeOf(t, line["time"])).Abs(); d > time.Second {
		t.Errorf("%v is at %v; want the time of %v", got, got["at"], line)
	}
	for _, name := range []string{"until", "deadline"} {
		if got[name] == nil {
			continue
		}
		if d := timeOf(t, got[name]).Sub(timeOf(t, line[name])).Abs(); d > time.Second {
			t.Errorf("%s is %v; want %v", name, got[name], line[name])
		}
		line[name] = got[name]
	}
	if line["label"] == nil {
		line["label"] = ""
	}
	for _, name := range []string{"time", "level", "component"} {
		delete(line, name)
	}
	delete(got, "at")
	delete(got, "event")
	if !maps.EqualFunc(got, line, func(a, b any) bool { return a == b }) {
		t.Errorf("got the event %v; want the fields of the line %v", got, line)
	}
}

func timeOf(t *testing.T, text any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text.(string))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestStatusHasTheEventsOfALogThatIsQuiet(t *testing.T) {
	consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--log-level=error")
	p.awaitReady()
	if all := p.status().Events; all == nil || len(all) != 0 {
		t.Errorf("got the events %v of the start; want an empty list", all)
	}
	consul.SetTags("one", asSlave, inGroup)
	consul.SetTags("two", asMaster, inGroup)
	eventually(t, "the failover in /status", func() bool {
		return slices.ContainsFunc(p.status().Events, func(e api.Event) bool {
			return e["event"] == "failover" && e["to"] == two.l.Addr().String()
		})
	})
	if got := p.log.lines(t, "failover"); len(got) != 0 {
		t.Errorf("got %v in a log of errors", got)
	}
}

// TestBothSidesOfAnUpgradeTellOfIt: each process of its own part.
func TestBothSidesOfAnUpgradeTellOfIt(t *testing.T) {
	w := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+w.l.Addr().String())
	c := dialProxy(t, g.listen)
	c.greetedBy(w)
	g.upgrade(g.first)
	g.await("the event of the new process", func() bool {
		s, err := g.statusAt(g.admin)
		return err == nil && hasEvent(s, "took over from the old process") && s.Events[0]["event"] == "upgrade" && s.Events[0]["pid"] == float64(g.first)
	})
	g.await("the events of the old process", func() bool {
		s, err := g.statusAt(g.own(g.first))
		return err == nil && hasEvent(s, "upgrade started") && hasEvent(s, "handed over to the new process") && hasEvent(s, "drain started")
	})
}

func hasEvent(s api.Status, message string) bool {
	return slices.ContainsFunc(s.Events, func(e api.Event) bool { return e["message"] == message })
}
