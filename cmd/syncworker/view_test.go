package main

import "testing"

func TestDecide(t *testing.T) {
	me, other := member{"1", "run-a"}, member{"2", "run-b"}
	const mine, others = "session-1", "session-2"
	complete := inSync{Epoch: 4, Members: []member{other, me}}
	for name, c := range map[string]struct {
		view  view
		whole bool
		want  step
	}{
		"nothing was ever written down":                         {view{}, false, runForMaster},
		"vacant, and I am complete":                             {view{inSync: complete, index: 9}, true, runForMaster},
		"vacant, and I am slave":                                {view{slave: lock{session: mine}, inSync: complete, index: 9}, true, runForMaster},
		"vacant, but I am incomplete":                           {view{inSync: inSync{Epoch: 4, Members: []member{other}}, index: 9}, true, runForSlave},
		"vacant, I am an incomplete slave":                      {view{slave: lock{session: mine}, inSync: inSync{Epoch: 4, Members: []member{other}}, index: 9}, true, followAsSlave},
		"vacant, I was restarted since":                         {view{slave: lock{session: others}, inSync: inSync{Epoch: 4, Members: []member{other, {"1", "earlier"}}}, index: 9}, true, followAsSpare},
		"the lock is mine":                                      {view{master: lock{session: mine}, inSync: complete, index: 9}, true, lead},
		"the slave lock is vacant":                              {view{master: lock{session: others}, inSync: complete, index: 9}, true, runForSlave},
		"the slave lock is vacant, and I am still being filled": {view{master: lock{session: others}, inSync: complete, index: 9}, false, followAsSpare},
		"the slave lock is mine":                                {view{master: lock{session: others}, slave: lock{session: mine}, inSync: complete, index: 9}, true, followAsSlave},
		"both are others'":                                      {view{master: lock{session: others}, slave: lock{session: "session-3"}, inSync: complete, index: 9}, true, followAsSpare},
	} {
		if got := decide(c.view, mine, candidate{member: me, whole: c.whole}); got != c.want {
			t.Errorf("%s: got step %d; want %d", name, got, c.want)
		}
	}
}

// TestWhoMayBeginAGroupWithABackup: where nothing was written down; in place of
// the history that it was told to replace, once that has no master; and where a
// group began with the same history's backup, and no client has written since.
func TestWhoMayBeginAGroupWithABackup(t *testing.T) {
	me, other := member{"1", "run-a"}, member{"2", "run-b"}
	const mine, others = "session-1", "session-2"
	backup := &point{History: "old", Epoch: 7, Records: 100}
	former := inSync{Epoch: 7, Members: []member{other}, History: "old"}
	restored := func(pristine bool, of string) inSync {
		return inSync{Epoch: 8, Members: []member{other}, History: "new", Restored: &point{History: of, Epoch: 7, Records: 90}, Pristine: pristine}
	}
	for name, c := range map[string]struct {
		view view
		me   candidate
		want step
	}{
		"nothing is written down":                        {view{}, candidate{backup: backup}, runForMaster},
		"nothing is any more: Consul was wiped":          {view{}, candidate{backup: backup, last: restored(false, "old"), history: "new"}, followAsSpare},
		"nothing is any more, and I was never filled":    {view{}, candidate{backup: backup, last: restored(false, "old")}, followAsSpare},
		"the former group is vacant":                     {view{inSync: former, index: 9}, candidate{backup: backup}, followAsSpare},
		"the former group is vacant, and to be replaced": {view{inSync: former, index: 9}, candidate{backup: backup, over: "old"}, runForMaster},
		"another group is to be replaced":                {view{inSync: former, index: 9}, candidate{backup: backup, over: "older"}, followAsSpare},
		"without a backup nothing is replaced":           {view{inSync: former, index: 9}, candidate{over: "old"}, followAsSpare},
		"the group to be replaced has a master":          {view{master: lock{session: others}, inSync: former, index: 9}, candidate{backup: backup, over: "old"}, awaitVacancy},
		"and its slave lock is free":                     {view{master: lock{session: others}, inSync: former, index: 9}, candidate{backup: backup, over: "old", whole: true}, awaitVacancy},
		"a group without a history":                      {view{inSync: inSync{Epoch: 7, Members: []member{other}}, index: 9}, candidate{backup: backup}, followAsSpare},
		"restored, and nobody has written":               {view{inSync: restored(true, "old"), index: 9}, candidate{backup: backup}, runForMaster},
		"restored, and written into":                     {view{inSync: restored(false, "old"), index: 9}, candidate{backup: backup}, followAsSpare},
		"restored from another history":                  {view{inSync: restored(true, "other"), index: 9}, candidate{backup: backup}, followAsSpare},
		"restored, and it has a master":                  {view{master: lock{session: others}, inSync: restored(true, "old"), index: 9}, candidate{backup: backup, whole: true}, runForSlave},
		"replaced already":                               {view{inSync: restored(false, "old"), index: 9}, candidate{backup: backup, over: "old"}, followAsSpare},
	} {
		c.me.member = me
		if c.view.slave.session == "" && !c.me.whole {
			c.view.slave.session = "session-3"
		}
		if got := decide(c.view, mine, c.me); got != c.want {
			t.Errorf("%s: got step %d; want %d", name, got, c.want)
		}
	}
}

// TestWipedConsulIsNoBeginning: a worker that has seen a set leads without one
// only if that named it.
func TestWipedConsulIsNoBeginning(t *testing.T) {
	me, other := member{"1", "run-a"}, member{"2", "run-b"}
	for name, c := range map[string]struct {
		last inSync
		want bool
	}{
		"has seen nothing":    {inSync{}, true},
		"was in the set":      {inSync{Epoch: 4, Members: []member{other, me}, History: "h"}, true},
		"was not in it":       {inSync{Epoch: 4, Members: []member{other}, History: "h"}, false},
		"was, an earlier run": {inSync{Epoch: 4, Members: []member{{"1", "earlier"}}, History: "h"}, false},
	} {
		if got := (view{}).mayLead(candidate{member: me, last: c.last}); got != c.want {
			t.Errorf("a worker that %s: may lead %v; want %v", name, got, c.want)
		}
	}
}
