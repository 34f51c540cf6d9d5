package discovery

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// pursuit moves a leader along, one view after another.
type pursuit struct {
	t          *testing.T
	mastership mastership
	leader     leader
	now        time.Time

	key view
	evidence
	of string // whose member it is; empty: the holder's
}

func newPursuit(t *testing.T, key LeaderKey, policy ...func(*Config)) *pursuit {
	c := Config{OnLost: CutLive}
	for _, f := range policy {
		f(&c)
	}
	key.Key = "service/pg/leader"
	p := &pursuit{t: t, mastership: newMastership(c), now: time.Unix(1e9, 0)}
	p.leader = leader{key: key, mastership: &p.mastership}
	return p
}

func holding(value, session string) view {
	return view{kind: found, entry: &entry{value: value, length: len(value), session: session, modify: 7}}
}

func memberAt(address string) view {
	return holding(fmt.Sprintf(`{"conn_url":"postgres://%s/postgres","api_url":"http://127.0.0.1:8008/patroni","role":"replica"}`, address), "")
}

var missing = view{kind: none}

// look checks what follows: "set ADDRESS", "clear", "cut" or "".
func (p *pursuit) look(want string) {
	p.t.Helper()
	p.now = p.now.Add(time.Second)
	of := p.of
	if of == "" && p.key.entry != nil {
		of = strings.TrimSpace(p.key.entry.value)
	}
	p.memberKey = "service/pg/members/" + of
	p.check(want, p.leader.look(p.key, p.evidence, p.now))
}

func (p *pursuit) check(want string, o order) {
	p.t.Helper()
	got := map[op]string{clearMaster: "clear", cutMaster: "cut", setMaster: "set"}[o.do]
	if o.do == setMaster {
		got += " " + o.master.Address.String()
	}
	if got != want {
		p.t.Fatalf("got %q; want %q (%s)", got, want, p.mastership.why)
	}
}

func (p *pursuit) keyIs(v view, want string) { p.t.Helper(); p.key = v; p.look(want) }

// ready has the holder's REST API say that it is primary.
func (p *pursuit) ready(want string) {
	p.t.Helper()
	p.leader.takeProbe(p.leader.term, "")
	p.look(want)
}

func (p *pursuit) why(want string) {
	p.t.Helper()
	if !strings.Contains(p.mastership.why, want) {
		p.t.Errorf("got why %q; want %q in it", p.mastership.why, want)
	}
}

func patroni(t *testing.T, policy ...func(*Config)) *pursuit {
	p := newPursuit(t, LeaderKey{Format: PatroniFormat, Ready: ReadyAPI}, policy...)
	p.member = memberAt("10.0.0.1:5432")
	p.keyIs(holding("pg1", "s1"), "clear")
	p.ready("set 10.0.0.1:5432")
	return p
}

func TestLeaderKeyAbsentNamesNobody(t *testing.T) {
	p := newPursuit(t, LeaderKey{})
	p.look("") // not read yet
	p.keyIs(missing, "clear")
	p.why(`"service/pg/leader" is absent`)
	p.keyIs(holding("nonsense", "s9"), "") // nobody was ever connected: there is nothing to cut
	p.keyIs(holding("10.0.0.1:5432", "s1"), "set 10.0.0.1:5432")
	p.keyIs(missing, "cut")
}

func TestLeaderKeyWithoutASessionNamesNobody(t *testing.T) {
	p := newPursuit(t, LeaderKey{})
	p.keyIs(holding("10.0.0.1:5432", "s1"), "set 10.0.0.1:5432")
	p.keyIs(holding("10.0.0.1:5432", ""), "cut")
	p.why("no session holds")
	p.keyIs(holding("10.0.0.1:5432", "s2"), "set 10.0.0.1:5432")
}

func TestLeaderKeyWithTheLockIgnored(t *testing.T) {
	p := newPursuit(t, LeaderKey{LockIgnored: true})
	p.keyIs(holding("10.0.0.1:3306", ""), "set 10.0.0.1:3306")
	p.keyIs(holding("nonsense", ""), "") // as good as unknown
	p.keyIs(holding("10.0.0.2:3306", ""), "set 10.0.0.2:3306")
	p.keyIs(missing, "cut")
	p.keyIs(holding("10.0.0.2:3306", ""), "set 10.0.0.2:3306")
}

// TestValueThatNamesNobodyElectsNobody: with the lock ignored, it ends no connection
// that was kept, and says why there is no master.
func TestValueThatNamesNobodyElectsNobody(t *testing.T) {
	p := newPursuit(t, LeaderKey{LockIgnored: true}, func(c *Config) { c.OnLost = KeepLive })
	p.keyIs(holding("nonsense", ""), "")
	p.why("not HOST:PORT")
	p.keyIs(holding("10.0.0.1:3306", ""), "set 10.0.0.1:3306")
	p.keyIs(missing, "clear")
	p.keyIs(holding("nonsense", ""), "")
	p.why("not HOST:PORT")
	p.keyIs(missing, "")
	p.why("absent")
	p.keyIs(holding("10.0.0.1:3306", ""), "set 10.0.0.1:3306")
}

func TestLeaderIsMasterOnceItsAPISaysSo(t *testing.T) {
	p := newPursuit(t, LeaderKey{Format: PatroniFormat, Ready: ReadyAPI})
	p.keyIs(holding("pg1", "s1"), "clear")
	p.why("not been read yet")
	p.member = missing
	p.look("")
	p.why("not among the members")
	p.member = memberAt("10.0.0.1:5432")
	p.look("")
	p.why("REST API")
	p.leader.takeProbe(p.leader.term, `its REST API answers "503 Service Unavailable"`)
	p.look("")
	p.why("503")
	p.member = missing // where it is is known
	p.look("")
	p.why("503")
	p.ready("set 10.0.0.1:5432")
	if p.mastership.why != "" || p.mastership.master.ServiceID != "pg1" {
		t.Errorf("got why %q and master %+v; want pg1 to be master", p.mastership.why, p.mastership.master)
	}
}

func TestNewHolderCutsBeforeItIsReady(t *testing.T) {
	for _, policy := range []LostPolicy{KeepLive, CutLive} {
		p := patroni(t, func(c *Config) { c.OnLost, c.LostAfter = policy, time.Hour })
		p.member = view{} // pg2's has not been read
		p.keyIs(holding("pg2", "s2"), "cut")
		p.member = memberAt("10.0.0.2:5432")
		p.look("")
		p.ready("set 10.0.0.2:5432")
	}
}

func TestNewHolderAfterALossThatKeptCuts(t *testing.T) {
	p := patroni(t, func(c *Config) { c.OnLost = KeepLive })
	p.keyIs(missing, "clear")
	p.member = view{}
	p.keyIs(holding("pg2", "s2"), "cut")
	p.member = memberAt("10.0.0.2:5432")
	p.look("")
	p.ready("set 10.0.0.2:5432")
}

func TestHolderThatIsBackAfterALossMustBeReadyAgain(t *testing.T) {
	p := patroni(t, func(c *Config) { c.OnLost = KeepLive })
	p.keyIs(missing, "clear")
	p.keyIs(holding("pg1", "s2"), "")
	p.why("REST API")
	p.ready("set 10.0.0.1:5432")
}

func TestHolderChangesWhileItIsNotReady(t *testing.T) {
	p := patroni(t)
	p.keyIs(missing, "cut")
	p.member = memberAt("10.0.0.2:5432")
	p.keyIs(holding("pg2", "s2"), "")
	late := p.leader.term
	p.member = memberAt("10.0.0.3:5432")
	p.keyIs(holding("pg3", "s3"), "")
	p.leader.takeProbe(late, "") // about pg2
	p.look("")
	p.ready("set 10.0.0.3:5432")
}

func TestSameHolderWithANewSessionIsNothing(t *testing.T) {
	p := patroni(t)
	p.keyIs(holding("pg1", "s2"), "")
	p.keyIs(holding(" pg1\n", "s3"), "")
	if p.mastership.state != Found {
		t.Errorf("got state %q; want it found still", p.mastership.state)
	}
}

// TestNewSessionAfterAFenceMustBeReadyAgain: nobody could see what became of the lock.
func TestNewSessionAfterAFenceMustBeReadyAgain(t *testing.T) {
	p := patroni(t)
	p.check("cut", p.mastership.fence())
	p.look("set 10.0.0.1:5432") // held as it was all the time
	p.check("cut", p.mastership.fence())
	p.keyIs(holding("pg1", "s2"), "clear")
	p.why("REST API")
	p.ready("set 10.0.0.1:5432")
}

func TestMemberOfAnEarlierHolderSaysNothing(t *testing.T) {
	for _, ready := range []LeaderReady{ReadyNow, ReadyAPI} {
		p := newPursuit(t, LeaderKey{Format: PatroniFormat, Ready: ready})
		p.member = memberAt("10.0.0.1:5432")
		p.key = holding("pg1", "s1")
		p.leader.look(p.key, evidence{}, p.now)
		p.ready("set 10.0.0.1:5432")
		p.of = "pg1"
		p.keyIs(holding("pg2", "s2"), "cut")
		p.why("not been read yet")
		if url, _ := p.leader.asksAPI(); url != "" {
			t.Errorf("got %q asked whether pg2 is ready; want nothing, since that is pg1's", url)
		}
		p.of, p.member = "pg2", memberAt("10.0.0.2:5432")
		if ready == ReadyAPI {
			p.look("")
		}
		p.ready("set 10.0.0.2:5432")
	}
}

func TestHostNameOfAnEarlierHolderSaysNothing(t *testing.T) {
	p := newPursuit(t, LeaderKey{Ready: ReadyCatalog})
	p.hosts = map[string]netip.Addr{"sync-2.example": netip.MustParseAddr("10.0.0.2")}
	p.keyIs(holding("sync-2.example:7800", "s1"), "clear")
	p.catalog = view{kind: found, claims: &claims{candidates: []candidate{master(2, 2)}}}
	for _, next := range []string{"sync-3.example:7800", "10.0.0.3:7800"} {
		p.keyIs(holding(next, "s2"), "")
		if p.leader.ready {
			t.Errorf("%s: got it ready since sync-2 is; want it to wait", next)
		}
	}
}

func TestReadinessIsNotAskedOfAMasterInOffice(t *testing.T) {
	p := patroni(t)
	if url, _ := p.leader.asksAPI(); url != "" {
		t.Errorf("got %q asked; want nothing", url)
	}
	p.leader.takeProbe(p.leader.term, "it is not")
	p.look("")
	p.member = missing
	p.look("")
	p.member = holding("nonsense", "")
	p.look("")
	if p.mastership.state != Found {
		t.Errorf("got state %q; want it found still", p.mastership.state)
	}
}

func TestMemberThatMovesInOfficeIsAFailover(t *testing.T) {
	p := patroni(t)
	p.member = memberAt("10.0.0.1:5433")
	p.look("set 10.0.0.1:5433")
}

func TestValueThatNamesNobody(t *testing.T) {
	long := view{kind: found, entry: &entry{length: maxValue + 1, session: "s1"}}
	for _, bad := range []view{holding("", "s1"), holding("nonsense", "s1"), holding("10.0.0.1:0", "s1"), holding("0.0.0.0:1", "s1"), long} {
		p := newPursuit(t, LeaderKey{})
		p.keyIs(holding("10.0.0.1:5432", "s1"), "set 10.0.0.1:5432")
		p.keyIs(bad, "") // the lock has not changed hands
		if p.leader.reject == nil {
			t.Errorf("%+v: got no reject", bad.entry)
		}
		other := *bad.entry
		other.session = "s2"
		p.keyIs(view{kind: found, entry: &other}, "cut")
		p.why("leader key")
		p.keyIs(holding("10.0.0.1:5432", "s2"), "set 10.0.0.1:5432")
		if p.leader.reject != nil {
			t.Errorf("got reject %v; want none any more", p.leader.reject)
		}
	}
}

func TestMemberThatCannotBeOneIsNotFollowed(t *testing.T) {
	for _, name := range []string{"pg1/x", "..", "pg\x00", strings.Repeat("p", MaxLeaderKey)} {
		p := newPursuit(t, LeaderKey{Format: PatroniFormat, Ready: ReadyAPI})
		p.keyIs(holding(name, "s1"), "cut")
		if p.leader.memberKey() != "" || p.leader.reject == nil {
			t.Errorf("%.20q: got its member asked for at %.40q; want it refused", name, p.leader.memberKey())
		}
	}
}

func TestUnknownKeyChangesNothing(t *testing.T) {
	p := patroni(t)
	p.keyIs(view{denied: "denied"}, "")
	if p.mastership.state != Found {
		t.Errorf("got state %q; want it found still", p.mastership.state)
	}
}

func TestLeaderByAHostNameIsCutFromTheOldOneFirst(t *testing.T) {
	p := newPursuit(t, LeaderKey{})
	p.keyIs(holding("10.0.0.1:5432", "s1"), "set 10.0.0.1:5432")
	p.keyIs(holding("pg2.example:5432", "s2"), "cut")
	p.why("looked up")
	if p.leader.status().Ready {
		t.Error("got it said to be ready while its name is looked up; want that once it is master")
	}
	p.check("set 10.0.0.2:5432", p.mastership.resolved(netip.MustParseAddr("10.0.0.2"), p.now))
}

func TestNewLeaderByAHostNameCutsThoseWhoWereKept(t *testing.T) {
	p := newPursuit(t, LeaderKey{}, func(c *Config) { c.OnLost = KeepLive })
	p.keyIs(holding("10.0.0.1:5432", "s1"), "set 10.0.0.1:5432")
	p.keyIs(missing, "clear")
	p.keyIs(holding("pg2.example:5432", "s2"), "cut")
	p.why("looked up")
	p.look("")
}

func TestLeaderIsReadyByTheCatalog(t *testing.T) {
	p := newPursuit(t, LeaderKey{Ready: ReadyCatalog})
	p.keyIs(holding("10.0.0.2:7800", "s1"), "clear")
	if !p.leader.asksCatalog() {
		t.Error("got the instances not asked for; want them")
	}
	p.catalog = view{denied: "denied: it needs service:read"}
	p.look("")
	p.why("service:read")
	p.catalog = view{kind: found, claims: &claims{candidates: []candidate{master(1, 1)}}}
	p.look("")
	p.why("passes at its address")
	p.catalog = view{kind: found, claims: &claims{candidates: []candidate{master(1, 1), master(2, 2)}}}
	p.look("set 10.0.0.2:7800")
	for _, later := range []view{missing, {kind: found, claims: &claims{candidates: []candidate{master(1, 1)}}}} {
		p.catalog = later
		p.look("")
		if p.mastership.state != Found || !p.leader.ready {
			t.Errorf("got state %q, ready %t; want it to be master, whatever the catalog says", p.mastership.state, p.leader.ready)
		}
	}
	if p.leader.asksCatalog() {
		t.Error("got the instances asked for; want that over")
	}
}

func TestLeaderByAHostNameIsReadyByTheCatalog(t *testing.T) {
	p := newPursuit(t, LeaderKey{Ready: ReadyCatalog})
	p.catalog = view{kind: found, claims: &claims{candidates: []candidate{master(2, 2)}}}
	p.keyIs(holding("sync-2.example:7800", "s1"), "clear")
	if p.leader.host() != "sync-2.example" {
		t.Errorf("got host %q to be looked up; want sync-2.example", p.leader.host())
	}
	p.hosts = map[string]netip.Addr{"sync-2.example": netip.MustParseAddr("10.0.0.2")}
	p.look("")
	p.check("set 10.0.0.2:7800", p.mastership.resolved(p.hosts["sync-2.example"], p.now))
	q := newPursuit(t, LeaderKey{Ready: ReadyCatalog})
	q.catalog = view{kind: found, claims: &claims{candidates: []candidate{{host: "sync-2.example", port: 7801}}}}
	q.keyIs(holding("sync-2.example:7800", "s1"), "clear")
	q.catalog = view{kind: found, claims: &claims{candidates: []candidate{{host: "SYNC-2.example", port: 7800}}}}
	q.look("")
	if !q.leader.ready {
		t.Error("got an instance registered by the same name not taken for it")
	}
}

func TestLostAfterWaitsBeforeItCuts(t *testing.T) {
	p := patroni(t, func(c *Config) { c.LostAfter = 10 * time.Second })
	p.keyIs(missing, "clear")
	lost := p.now
	p.check("", p.mastership.expire(lost.Add(9*time.Second)))
	p.keyIs(holding("pg1", "s2"), "")
	p.ready("set 10.0.0.1:5432") // back in time
	if !p.mastership.cutAt.IsZero() {
		t.Errorf("got a cut still due at %v; want none, or the label looks for it again and again", p.mastership.cutAt)
	}
	p.check("", p.mastership.expire(lost.Add(time.Hour)))
	p.keyIs(missing, "clear")
	p.check("cut", p.mastership.expire(p.now.Add(10*time.Second)))
	p.check("", p.mastership.expire(p.now.Add(11*time.Second)))
}
