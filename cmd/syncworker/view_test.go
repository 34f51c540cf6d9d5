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
		"vacant, but I am incomplete":                           {view{inSync: inSync{4, []member{other}}, index: 9}, true, runForSlave},
		"vacant, I am an incomplete slave":                      {view{slave: lock{session: mine}, inSync: inSync{4, []member{other}}, index: 9}, true, followAsSlave},
		"vacant, I was restarted since":                         {view{slave: lock{session: others}, inSync: inSync{4, []member{other, {"1", "earlier"}}}, index: 9}, true, followAsSpare},
		"the lock is mine":                                      {view{master: lock{session: mine}, inSync: complete, index: 9}, true, lead},
		"the slave lock is vacant":                              {view{master: lock{session: others}, inSync: complete, index: 9}, true, runForSlave},
		"the slave lock is vacant, and I am still being filled": {view{master: lock{session: others}, inSync: complete, index: 9}, false, followAsSpare},
		"the slave lock is mine":                                {view{master: lock{session: others}, slave: lock{session: mine}, inSync: complete, index: 9}, true, followAsSlave},
		"both are others'":                                      {view{master: lock{session: others}, slave: lock{session: "session-3"}, inSync: complete, index: 9}, true, followAsSpare},
	} {
		if got := decide(c.view, mine, me, c.whole); got != c.want {
			t.Errorf("%s: got step %d; want %d", name, got, c.want)
		}
	}
}
