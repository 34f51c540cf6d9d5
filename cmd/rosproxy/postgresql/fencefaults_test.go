package postgresql_test

import (
	"syscall"
	"time"
)

// fault is what happens while the leader changes, to instance a or to Consul.
type fault struct {
	name    string
	brief   bool // tried even when no number of failovers was asked for
	expires bool // the leader's key goes by its TTL; else it is taken at once, so that the fault is fresh
	dead    bool // a report stays behind, until it is dead

	before func(*deposal) // done before the leader's Patroni is killed
	at     func(*deposal) // when the key has been taken
	after  func(*deposal) // when await-fence has let the promotion go on, and writers still write
	mend   func(*deposal) // at the end
}

var faults = []fault{
	{name: "nothing else", brief: true, expires: true},
	{
		name: "an instance killed", dead: true,
		before: func(s *deposal) { s.a.signal(syscall.SIGKILL) },
		mend:   restart,
	},
	{
		name: "an instance stopped, and continued after the promotion", brief: true, dead: true,
		before: func(s *deposal) { s.must(s.a.process.Freeze()) },
		after: func(s *deposal) {
			s.wantKilledByLease()
			s.must(s.a.process.Thaw())
		},
		mend: restart,
	},
	{
		name:   "an instance stopped for two seconds",
		before: func(s *deposal) { s.must(s.a.process.Freeze()) },
		at: func(s *deposal) {
			time.Sleep(2 * time.Second)
			s.must(s.a.process.Thaw())
		},
	},
	{
		name: "an instance's agent killed, its clients and the old primary at hand", brief: true, dead: true,
		before: func(s *deposal) { s.agentA.Kill() },
		after:  func(s *deposal) { s.agentA.Start() },
	},
	{
		name: "an instance's agent frozen", dead: true,
		before: func(s *deposal) { s.agentA.Freeze() },
		after:  func(s *deposal) { s.agentA.Thaw() },
	},
	{
		name: "Consul's leader killed", brief: true,
		before: func(s *deposal) { s.server = s.servers.Leader() },
		at:     func(s *deposal) { s.servers.Servers[s.server].Kill() },
		after:  func(s *deposal) { s.servers.Servers[s.server].Start() },
	},
	{
		name: "an upgrade of an instance under way", brief: true,
		before: func(s *deposal) { s.a.signal(syscall.SIGUSR2) },
	},
	{
		name:   "a drain of an instance under way",
		before: func(s *deposal) { s.a.signal(syscall.SIGTERM) },
		mend:   restart,
	},
}

// restart ends whatever is left of the instance, and starts it anew.
func restart(s *deposal) { s.a.start() }

// wantKilledByLease checks that the instance, which stood still with clients
// connected through it, has not outlived its lease.
func (s *deposal) wantKilledByLease() {
	s.t.Helper()
	select {
	case <-s.a.process.Empty():
	case <-time.After(lateness):
		s.t.Errorf("instance %s is stopped, and still there; want it killed by the end of its lease", s.a.name)
	}
}
