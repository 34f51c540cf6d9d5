package discovery

import (
	"testing"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

func TestWhereTheMasterIsToBeLookedFor(t *testing.T) {
	entry := func(active string) datacenter.Read {
		return datacenter.Read{Understood: true, Begun: 1, Entry: datacenter.Entry{Active: active, Term: 3}}
	}
	absent := datacenter.Read{Understood: true, Begun: 1}
	for _, c := range []struct {
		name     string
		own      string
		remote   RemotePolicy
		dc1, dc2 datacenter.Read
		want     location
	}{
		{"nothing was read", "dc1", ForwardRemote, datacenter.Read{}, datacenter.Read{}, location{state: Starting, why: "the entry in data centre dc1 has not been read yet"}},
		{"one was not read", "dc1", ForwardRemote, absent, datacenter.Read{Why: "status 500"}, location{state: Starting, why: "the entry in data centre dc2 is not known: status 500"}},
		{"no entry anywhere", "dc1", ForwardRemote, absent, absent, location{state: Inactive}},
		{"nobody", "dc1", ForwardRemote, entry(""), absent, location{state: Inactive, term: 3}},
		{"two say otherwise", "dc1", ForwardRemote, entry("dc1"), entry("dc2"), location{state: Inactive, term: 3, why: "two entries of term 3 name different data centres"}},
		{"the own one", "dc1", ForwardRemote, entry("dc1"), absent, location{datacenter: "dc1", state: Starting, term: 3}},
		{"another", "dc2", ForwardRemote, entry("dc1"), absent, location{datacenter: "dc1", remote: true, state: Starting, term: 3}},
		{"another, and hold", "dc2", HoldRemote, entry("dc1"), absent, location{state: Standby, term: 3, why: "active data centre is dc1"}},
		{"the own one, and hold", "dc1", HoldRemote, entry("dc1"), absent, location{datacenter: "dc1", state: Starting, term: 3}},
		{"none of the label's", "dc1", ForwardRemote, entry("dc9"), absent, location{state: Inactive, term: 3, why: "the active data centre is dc9, which is none of the label's"}},
		{"the own one cannot be learnt", "?", ForwardRemote, entry("dc1"), absent, location{state: Starting, term: 3, why: "its own data centre is not known yet: denied"}},
		{"the own one is not known", "", ForwardRemote, entry("dc1"), absent, location{state: Starting, term: 3, why: "its own data centre is not known yet"}},
	} {
		v := activeView{follower: datacenter.NewFollower([]string{"dc1", "dc2"}), own: c.own}
		if c.own == "?" {
			v.own, v.whyOwn = "", "denied"
		}
		v.follower.Take("dc1", c.dc1)
		v.follower.Take("dc2", c.dc2)
		if got := locationOf(Config{Datacenters: []string{"dc1", "dc2"}, RemoteMaster: c.remote}, v); got != c.want {
			t.Errorf("%s: got %+v; want %+v", c.name, got, c.want)
		}
	}
}
