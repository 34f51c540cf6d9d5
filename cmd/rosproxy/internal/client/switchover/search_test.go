package switchover

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// outcomes are what a search must have come to, or it has searched nothing.
var outcomes = map[string]func(*world) bool{
	"switched": func(w *world) bool {
		return w.gone >= 0 && w.command == ended && w.machine.Status == 0 && len(w.machine.Left()) == 0
	},
	"failed": func(w *world) bool { return w.gone >= 0 && w.command == ended && w.machine.Status == 1 },
	"failed after": func(w *world) bool {
		return w.gone >= 0 && w.command == ended && w.machine.Status == 1 && w.elections > 0
	},
	"given up": func(w *world) bool { return w.gone >= 0 && w.command == notYet && w.machine.Status == 1 },
	"outlived": func(w *world) bool { return w.command == runs && w.now > config.For+2 && w.instances[0].pause.Lasts() }, // the command runs for longer than a pause lasts
	"late": func(w *world) bool {
		return w.machine.Phase == Settling && w.instances[0].elected != w.instances[1].elected
	},
	"orphaned": func(w *world) bool { return w.machine.Phase != Exited && w.gone >= 0 && w.instances[0].pause.Lasts() },
	"left":     func(w *world) bool { return w.machine.Phase == Exited && len(w.machine.Left()) > 0 },
	"refused": func(w *world) bool {
		return w.gone >= 0 && w.instances[0].pause.By == others && w.instances[0].pause.Lasts()
	},
	"served": func(w *world) bool { return w.gone >= 0 && w.instances[0].live && w.instances[0].elected > 0 },
}

// search goes through all worlds that may follow, breadth first, so that a
// counterexample is a shortest one; nil: there is none. It tells how many there
// are, and which outcomes some of them have.
func search(start world) (counterexample *world, worlds int, reached []string) {
	front := []*world{&start}
	visited := map[string]struct{}{start.key(): {}}
	for len(front) > 0 {
		var next []*world
		for _, w := range front {
			for _, n := range w.next() {
				if n.wrong != "" {
					return n, len(visited), reached
				}
				k := n.key()
				if _, known := visited[k]; known {
					continue
				}
				visited[k] = struct{}{}
				next = append(next, n)
				for name, is := range outcomes {
					if !slices.Contains(reached, name) && is(n) {
						reached = append(reached, name)
					}
				}
			}
		}
		front = next
	}
	return nil, len(visited), reached
}

// Ticks.
const (
	longEnough  = 7 // for a command that outlasts a pause, and for a pause to end after it
	outlived    = 4 // for a pause to end that nothing moves on
	shortEnough = 6 // where that gives too many worlds
)

func TestNothingThatMayHappenBreaksThePromises(t *testing.T) {
	for name, c := range map[string]struct {
		horizon time.Duration
		budget  budget
		live    bool
		wants   []string // outcomes
	}{
		"nothing goes wrong":                             {longEnough, budget{}, true, []string{"switched", "failed", "failed after", "given up", "outlived", "late", "served"}},
		"an upgrade":                                     {shortEnough, budget{upgrades: 1}, true, []string{"switched", "failed after"}},
		"an election by accident":                        {shortEnough, budget{elections: 1}, false, []string{"given up", "failed"}},
		"SIGTERM":                                        {shortEnough, budget{signals: 1}, false, []string{"given up", "failed", "switched"}},
		"the process is killed":                          {longEnough, budget{kills: 1}, false, []string{"orphaned"}},
		"an instance dies":                               {shortEnough, budget{deaths: 1}, true, []string{"given up", "switched"}},
		"a second command":                               {shortEnough, budget{others: 1}, false, []string{"given up", "refused", "switched"}},
		"a request or an answer is lost":                 {shortEnough, budget{losses: 1}, false, []string{"switched", "given up"}},
		"a request, an answer or a read is late":         {shortEnough, budget{delays: 1}, false, []string{"switched", "given up"}},
		"an answer is late for as long as a pause lasts": {outlived, budget{delays: 2}, false, []string{"given up"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, worlds, reached := search(newWorld(c.budget, rules{}, c.live, c.horizon))
			t.Logf("%d worlds", worlds)
			if found != nil {
				t.Fatalf("%s:\n%v", found.wrong, found.trail)
			}
			for _, want := range c.wants {
				if !slices.Contains(reached, want) {
					t.Errorf("no world in which it has %s: the search has not been there", want)
				}
			}
		})
	}
}

// TestSearchFindsWhyEachRuleIsThere: each of them has a counterexample without it.
func TestSearchFindsWhyEachRuleIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		budget budget
		rules  rules
		live   bool
		says   string
	}{
		"a pause is handed over":                           {budget{upgrades: 1}, rules{dropPauseInUpgrade: true}, false, "the command runs, and instance 0"},
		"connections of old generations count":             {budget{upgrades: 1}, rules{forgetOldGenerations: true}, true, "has a live connection"},
		"what moves an end begins no pause":                {budget{}, rules{beginInsteadOfMove: true}, false, "is paused again"},
		"clients wait for a read that began after the end": {budget{}, rules{releaseAtOnce: true}, false, "sends a client to master 0, and 1 was elected"},
		"a pause is its owner's":                           {budget{others: 1}, rules{ownerIsIgnored: true}, false, "instance 0 is not paused"},
	} {
		t.Run(name, func(t *testing.T) {
			found, worlds, _ := search(newWorld(c.budget, c.rules, c.live, longEnough))
			if found == nil || !strings.Contains(found.wrong, c.says) {
				t.Fatalf("%d worlds: got %v; want one in which it %s", worlds, found, c.says)
			}
			t.Logf("%d worlds; %s:\n%v", worlds, found.wrong, found.trail)
		})
	}
}
