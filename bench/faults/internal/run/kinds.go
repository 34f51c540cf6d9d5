package run

import (
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/traffic"
)

// Kind is a kind of fault, and what it may cost.
type Kind struct {
	Name   string
	Inject func(r *round) error // before the election
	Heal   func(r *round) error // after the next master was promoted

	// Ready is done before the next master is promoted, when the old one is fenced.
	Ready func(r *round) error
	// Elect replaces the election of a label.
	Elect func(r *round, l *label) error
	// SameMaster: nobody else is elected.
	SameMaster bool
	// HealFirst: the election has to wait for it.
	HealFirst bool
	// Blinds: the instance hears nothing of the election until it is healed.
	Blinds func(p Plan) bool
	// Outage: Consul may be out of reach for some instance.
	Outage bool
	// Spares says of a connection that was ended before the election, or that
	// was not to the old master, whether the fault itself may have ended it.
	Spares func(r *round, e traffic.End) bool
	// Dies: the instance may have been killed.
	Dies bool
	// Refuses: the instance may refuse clients.
	Refuses bool
	// ShortStop: who is to report is on its way, and reports when it is healed.
	ShortStop bool
	// Deaf: what the old master is sent may not arrive, a RST as well.
	Deaf bool
}

func nothing(*round) error { return nil }

func always(Plan) bool { return true }

// throughIt reports whether a connection went through the instance that the fault hits.
func throughIt(r *round, e traffic.End) bool { return e.Instance == r.instance().Name }

// agentIsAll reports whether the agent that the fault hits is an instance's only way to
// Consul: that of c is not.
func agentIsAll(p Plan) bool { return instanceNames[p.Instance] != "c" }

// Kinds are all kinds of fault.
func Kinds() []*Kind {
	return append(append(masterKinds(), consulKinds()...), instanceKinds()...)
}

func masterKinds() []*Kind {
	return []*Kind{
		{Name: "switchover", Inject: nothing},
		{
			Name:   "master killed",
			Inject: func(r *round) error { r.old().Kill(); return nil },
			Heal:   func(r *round) error { return r.old().Start() },
			Spares: func(r *round, e traffic.End) bool { return e.Master == r.old().Name || e.Master == "" },
		},
		{
			Name:   "master stopped",
			Inject: func(r *round) error { return r.old().Freeze() },
			Heal:   func(r *round) error { return r.old().Thaw() },
		},
		{
			Name:   "master partitioned",
			Inject: func(r *round) error { return r.old().Host.Unplug(dataLAN) },
			Heal:   func(r *round) error { return r.old().Host.Plug(dataLAN) },
			Deaf:   true,
		},
		{
			Name:   "new master does not answer",
			Inject: func(r *round) error { return r.new().Host.Unplug(dataLAN) },
			Heal:   func(r *round) error { time.Sleep(r.plan.Gap * 5); return r.new().Host.Plug(dataLAN) },
		},
		{
			Name:   "new master refuses",
			Inject: func(r *round) error { r.new().Kill(); return nil },
			Ready:  func(r *round) error { time.Sleep(r.plan.Gap * 2); return r.new().Start() },
		},
		{Name: "two masters", Inject: nothing, Elect: electTwo, Heal: announceOne},
		{Name: "flapping", Inject: nothing, Elect: electFlapping},
		{Name: "same master again", Inject: nothing, Elect: electSame, SameMaster: true},
		{Name: "master gone and back", Inject: nothing, Elect: electGoneAndBack, SameMaster: true},
	}
}

func consulKinds() []*Kind {
	return []*Kind{
		{
			Name:   "agent lost",
			Inject: func(r *round) error { r.agent().Kill(); return nil },
			Heal:   func(r *round) error { return r.agent().Start() },
			Blinds: agentIsAll, Outage: true,
		},
		{
			Name:   "agent frozen",
			Inject: func(r *round) error { return r.agent().Freeze() },
			Heal:   func(r *round) error { return r.agent().Thaw() },
			Blinds: agentIsAll, Outage: true,
		},
		{
			Name: "agent restarted empty",
			Inject: func(r *round) error {
				r.agent().Kill()
				if err := r.agent().Wipe(); err != nil {
					return err
				}
				return r.agent().Start()
			},
			Outage: true,
		},
		{
			Name:   "Consul's leader killed",
			Inject: func(r *round) (err error) { r.leader, err = r.consul.Leader(); return onAgent(r.leader, err, kill) },
			Heal:   func(r *round) error { return r.leader.Start() },
			Outage: true,
		},
		{
			Name:   "Consul's leader frozen",
			Inject: func(r *round) (err error) { r.leader, err = r.consul.Leader(); return onAgent(r.leader, err, freeze) },
			Heal:   func(r *round) error { return r.leader.Thaw() },
			Outage: true,
		},
		{
			Name: "Consul's leader partitioned",
			Inject: func(r *round) (err error) {
				if r.leader, err = r.consul.Leader(); err != nil {
					return err
				}
				return r.hosts[r.leader.Name].Unplug(consulLAN)
			},
			Heal:   func(r *round) error { return r.hosts[r.leader.Name].Plug(consulLAN) },
			Outage: true,
		},
		{
			Name: "quorum lost",
			Inject: func(r *round) error {
				r.consul.Servers[r.plan.Number%3].Kill()
				r.consul.Servers[(r.plan.Number+1)%3].Kill()
				return nil
			},
			Heal: func(r *round) error {
				for _, s := range r.consul.Servers {
					if err := s.Start(); err != nil {
						return err
					}
				}
				return nil
			},
			HealFirst: true, Outage: true,
		},
		{
			Name:   "token revoked",
			Inject: func(r *round) error { return r.consul.Revoke(r.tokens[r.instance().Name]) },
			Heal:   func(r *round) error { return r.newToken(r.instance()) },
			Blinds: always, Outage: true,
		},
		{
			Name:   "instance cut off from Consul",
			Inject: func(r *round) error { return r.instance().Host.Unplug(consulLAN) },
			Heal:   func(r *round) error { return r.instance().Host.Plug(consulLAN) },
			Blinds: always, Outage: true,
		},
	}
}

func instanceKinds() []*Kind {
	return []*Kind{
		{
			Name:      "instance stopped",
			Inject:    freezeInstance,
			Heal:      thawInstance,
			ShortStop: true,
			Dies:      true, Refuses: true,
			// On a machine that is busy it may have stood still for longer than its lease.
			Spares: func(r *round, e traffic.End) bool { return throughIt(r, e) && e.At.Sub(r.injected) > leaseAtLeast },
		},
		{
			Name:   "instance stopped for long",
			Inject: freezeInstance,
			Heal:   reviveInstance,
			Spares: func(r *round, e traffic.End) bool { return throughIt(r, e) && e.At.Sub(r.injected) > leaseAtLeast },
			Dies:   true, Refuses: true,
		},
		{
			Name:   "instance killed",
			Inject: func(r *round) error { return r.instance().Kill() },
			Heal:   func(r *round) error { return r.instance().Start() },
			Spares: throughIt, Dies: true, Refuses: true,
		},
		{
			Name:   "instance upgraded",
			Inject: func(r *round) error { return r.instance().Upgrade() },
			Ready:  func(r *round) error { return r.awaitOneGeneration(r.instance()) },
			Spares: func(r *round, e traffic.End) bool { return throughIt(r, e) && e.At.Sub(r.injected) > drainTimeout },
		},
		{
			Name:    "instance drained",
			Inject:  func(r *round) error { return r.instance().Drain(r.plan.Coin) },
			Heal:    endDrain,
			Spares:  func(r *round, e traffic.End) bool { return throughIt(r, e) && e.At.Sub(r.injected) > drainTimeout },
			Refuses: true,
		},
	}
}
