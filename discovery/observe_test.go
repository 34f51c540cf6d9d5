package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// script feeds an observer with answers, one second apart.
type script struct {
	t   *testing.T
	o   *observer
	now time.Time
}

var scriptBegins = time.Unix(1e9, 0)

func newScript(t *testing.T, agents int, change ...func(*Config)) *script {
	c := Config{Service: "sync", Labels: []Label{{Name: "default"}}}.withDefaults()
	for _, f := range change {
		f(&c)
	}
	return &script{t: t, o: newObserver(c, agents), now: scriptBegins}
}

// master answers the candidate at 10.0.0.n:7800, registered at modify.
func master(n int, modify uint64) candidate {
	return claimOf(fmt.Sprintf("n%d", n), fmt.Sprintf("sync-%d", n), fmt.Sprintf("10.0.0.%d:7800", n), modify)
}

// says is an answer of an agent: with candidates when there are some, else empty.
func says(agent int, index uint64, cs ...candidate) answer {
	a := answer{agent: agent, index: index, kind: none, instances: instancesOf(cs...)}
	if len(cs) > 0 {
		a.kind = found
	}
	return a
}

// instancesOf are instances that all claim to be master.
func instancesOf(cs ...candidate) *instances {
	return &instances{all: &claims{candidates: cs}, entries: len(cs)}
}

// read makes a the answer to a consistent read.
func read(a answer) answer { a.consistent = true; return a }

// polled makes a the answer to a long poll that waited on index.
func polled(index uint64, a answer) answer { a.asked = index; return a }

// give hands a over; it was asked for a moment before.
func (s *script) give(a answer) seenOrder {
	s.now = s.now.Add(time.Second)
	a.began, a.arrived = s.now.Add(-10*time.Millisecond), s.now
	if a.consistent && a.begun == 0 {
		a.begun = s.now.Sub(scriptBegins)
	}
	return s.o.observe(a)
}

// want hands a over and checks what is ordered: "set N" for master N, "clear",
// "cut" or "", with " verify" and " reset" after it.
func (s *script) want(what string, a answer) {
	s.t.Helper()
	s.check(what, s.give(a))
}

func (s *script) check(what string, o seenOrder) {
	s.t.Helper()
	if got := describe(o); got != what {
		s.t.Fatalf("got order %q; want %q", got, what)
	}
}

func describe(o seenOrder) string {
	out := map[op]string{nothing: "", clearMaster: "clear", cutMaster: "cut", setMaster: "set"}[o.do]
	if o.do == setMaster {
		out += fmt.Sprintf(" %d", o.master.Address.Addr().As4()[3])
	}
	if o.verify {
		out += " verify"
	}
	if o.reset {
		out += " reset"
	}
	return out
}

func (s *script) state(want State, seen int) {
	s.t.Helper()
	if s.o.state != want || s.o.seen != seen {
		s.t.Fatalf("got state %q with %d masters seen; want %q with %d", s.o.state, s.o.seen, want, seen)
	}
}

func TestNewMasterElected(t *testing.T) {
	s := newScript(t, 1)
	s.state(Starting, 0)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.state(Found, 1)
	s.want("set 2", polled(10, says(0, 11, master(2, 11))))
	s.state(Found, 1)
}

// TestReadThatNamedOneMasterConfirmsNoOther: each by what named it.
func TestReadThatNamedOneMasterConfirmsNoOther(t *testing.T) {
	o := newMastership(Config{})
	if got := o.elect(master(1, 1), time.Time{}, 5).confirm; got != 5 {
		t.Errorf("got %v confirmed; want 5", got)
	}
	if got := o.elect(master(1, 1), time.Time{}, 4).confirm; got != 5 {
		t.Errorf("again, by a read that was overtaken: got %v confirmed; want 5", got)
	}
	if got := o.elect(master(2, 2), time.Time{}, 0).confirm; got != 0 {
		t.Errorf("another, by a long poll: got %v confirmed; want 0", got)
	}
}

func TestMasterGoneAndNoneElected(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want(" verify", polled(10, says(0, 11)))
	s.state(Found, 1)
	s.want("clear", read(says(0, 11)))
	s.state(None, 0)
	s.want("", read(says(0, 11)))
}

func TestEmptyAnswerIsConfirmedBeforeItCounts(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want(" verify", polled(10, says(0, 11)))
	s.want("", read(says(0, 11, master(1, 10)))) // it was not so
	s.state(Found, 1)
	s.want("set 2", polled(11, says(0, 12, master(2, 12))))
}

func TestEmptyAnswerAtTheStartIsConfirmed(t *testing.T) {
	s := newScript(t, 1)
	s.want(" verify", says(0, 1)) // as streaming answers before its first snapshot
	s.state(Starting, 0)
	s.want("clear", read(says(0, 9)))
	s.state(None, 0)
}

func TestSameAddressAgainIsNothing(t *testing.T) {
	s := newScript(t, 2)
	m := master(1, 10)
	s.want("set 1", says(0, 10, m))
	s.want("", polled(10, says(0, 10, m))) // the wait is over
	s.want("", polled(10, says(0, 11, m))) // another instance changed
	m.modify = 12
	s.want("", polled(11, says(0, 12, m))) // meta changed
	s.want("", read(says(0, 12, m)))
	s.want("", says(1, 12, m)) // another agent
	s.state(Found, 1)
}

func TestNewServiceIDAtTheSameAddressKeepsTheAddress(t *testing.T) {
	s := newScript(t, 1)
	old, renamed := master(1, 10), master(1, 11)
	renamed.id = "sync-1b"
	s.want("set 1", says(0, 10, old))
	o := s.give(polled(10, says(0, 11, old, renamed)))
	s.check("set 1", o)
	s.state(Found, 1)
	if o.master.ServiceID != "sync-1b" {
		t.Errorf("got service id %q; want sync-1b", o.master.ServiceID)
	}
	s.want("", polled(11, says(0, 12, renamed)))
}

func TestMasterGoneAndBackAtTheSameAddress(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("clear", read(says(0, 11)))
	s.want("set 1", polled(11, says(0, 12, master(1, 10))))
	s.state(Found, 1)
}

func TestNewPortIsANewMaster(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	o := s.give(polled(10, says(0, 11, claimOf("n1", "sync-1", "10.0.0.1:7801", 11))))
	s.check("set 1", o)
	if o.master.Address.Port() != 7801 {
		t.Errorf("got port %d; want 7801", o.master.Address.Port())
	}
}

func TestUnknownIsNeverNone(t *testing.T) {
	s := newScript(t, 1)
	unknowns := []answer{
		{kind: unknown, err: errors.New("status 500")},
		{kind: denied, err: errors.New("denied")},
	}
	for _, a := range unknowns {
		s.want("", a)
		s.state(Starting, 0)
	}
	s.want("set 1", says(0, 10, master(1, 10)))
	for _, a := range unknowns {
		for _, index := range []uint64{0, 5, 99} {
			a.index = index
			s.want("", a)
			s.want("", read(a))
		}
	}
	s.state(Found, 1)
	s.want("set 2", polled(10, says(0, 11, master(2, 11)))) // their indexes left no trace
}

func TestTwoMastersNewestWins(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("set 2", polled(10, says(0, 11, master(1, 10), master(2, 11))))
	s.state(Found, 2)
	s.want("", polled(11, says(0, 12, master(2, 11))))
	s.state(Found, 1)
	s.want("", polled(12, says(0, 13, master(2, 11), master(1, 9)))) // an older claim
	s.state(Found, 2)
}

func TestTwoMastersRefused(t *testing.T) {
	s := newScript(t, 1, func(c *Config) { c.OnConflict = Refuse })
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("cut", polled(10, says(0, 11, master(1, 10), master(2, 11))))
	s.state(Conflict, 2)
	s.want("", polled(11, says(0, 12, master(1, 10), master(2, 11))))
	s.want("set 2", polled(12, says(0, 13, master(2, 11))))
	s.state(Found, 1)
	s.want("cut", polled(13, says(0, 14, master(1, 14), master(2, 11))))
	s.want("clear", read(says(0, 15)))
	s.state(None, 0)
	s.want("cut", read(says(0, 16, master(1, 14), master(2, 16))))
	s.check("cut", seenOrder{order: s.o.fence()}) // the sink is told why there is none now
	s.state(Unreachable, 2)
}

func TestFenceNeedsAMasterOrTheKnowledgeThatThereIsNone(t *testing.T) {
	s := newScript(t, 1)
	s.check("", seenOrder{order: s.o.fence()})
	s.state(Starting, 0) // nothing to fence before the first answer

	s.want("set 1", says(0, 10, master(1, 10)))
	s.check("cut", seenOrder{order: s.o.fence()})
	s.state(Unreachable, 1)
	s.check("", seenOrder{order: s.o.fence()})
	s.want("set 1", read(says(0, 10, master(1, 10)))) // the same master, after all
	s.state(Found, 1)

	s.want("clear", read(says(0, 11)))
	s.check("cut", seenOrder{order: s.o.fence()})
	s.want("clear", read(says(0, 11)))
	s.state(None, 0)
}

func TestOnlyAConsistentReadEndsAFence(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.check("cut", seenOrder{order: s.o.fence()})
	s.want(" verify", polled(10, says(0, 11, master(1, 10))))
	s.state(Unreachable, 1)
	s.want("set 1", read(says(0, 11, master(1, 10))))
}

// TestOnlyConsistentReadsThatCountAreAnswers, and so end an outage.
func TestOnlyConsistentReadsThatCountAreAnswers(t *testing.T) {
	s := newScript(t, 2)
	for _, step := range []struct {
		a    answer
		want bool
	}{
		{says(0, 10, master(1, 10)), false},
		{read(says(0, 10, master(1, 10))), true},
		{polled(10, says(0, 11, master(1, 10))), false},
		{read(says(1, 10, master(1, 10))), false}, // it lags
		{read(failed(errors.New("status 500"))), false},
		{read(answer{kind: denied, err: errors.New("denied")}), false},
		{read(says(0, 12)), true},
	} {
		if got := s.give(step.a).answered; got != step.want {
			t.Errorf("%+v: got answered %v; want %v", step.a, got, step.want)
		}
	}
}

// TestMasterIsConfirmedByConsistentReads: by those that name it, as of when they began.
func TestMasterIsConfirmedByConsistentReads(t *testing.T) {
	s := newScript(t, 2)
	begun := func(at time.Duration, a answer) answer { a.begun = at; return a }
	for _, step := range []struct {
		a    answer
		want time.Duration
	}{
		{says(0, 10, master(1, 10)), 0},
		{begun(5, read(says(0, 10, master(1, 10)))), 5},
		{says(0, 10, master(1, 10)), 0},
		{begun(4, read(says(0, 10, master(1, 10)))), 5}, // it was overtaken, and takes nothing back
		{begun(6, read(says(1, 9, master(1, 9)))), 0},   // it lags
		{begun(7, read(says(0, 11))), 0},
		{begun(8, read(says(0, 12, master(2, 12)))), 8},
		{polled(12, says(0, 13, master(3, 13))), 0}, // nobody has confirmed this one
	} {
		if got := s.give(step.a).confirm; got != step.want {
			t.Errorf("%+v: got confirmed %v; want %v", step.a, got, step.want)
		}
	}
}

func TestInvalidMasterKeepsTheLastOne(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	bad := says(0, 11)
	bad.kind, bad.instances = found, &instances{all: &claims{rejects: []reject{{"sync-2", "port 0 is unusable"}}}}
	s.want("", polled(10, bad))
	s.state(Found, 1)
	if len(s.o.claims.rejects) != 1 {
		t.Errorf("got rejects %v; want the one", s.o.claims.rejects)
	}
	s.want("", polled(11, says(0, 12, master(1, 12))))
	if len(s.o.claims.rejects) != 0 {
		t.Errorf("got rejects %v; want none", s.o.claims.rejects)
	}
}

// TestInvalidMasterIsWhyThereIsNone: also at the start, when nobody has been master.
func TestInvalidMasterIsWhyThereIsNone(t *testing.T) {
	s := newScript(t, 1)
	bad := says(0, 9)
	bad.kind, bad.instances = found, &instances{all: &claims{rejects: []reject{{"sync-2", "port 0 is unusable"}}}}
	s.want("", bad)
	if why := s.o.mastership.why; why != "sync-2: port 0 is unusable" {
		t.Errorf("got why %q; want what is wrong with it", why)
	}
	s.want("set 1", says(0, 10, master(1, 10)))
	if why := s.o.mastership.why; why != "" {
		t.Errorf("got why %q with a master; want none", why)
	}
}

func TestWinnerWithAHostNameIsMasterOnceThatIsLookedUp(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	named := candidate{node: "n2", id: "sync-2", host: "sync-2", port: 7800, modify: 11}
	first := read(says(0, 11, master(1, 10), named))
	first.begun = 7
	s.want("", first)
	s.state(Found, 2)
	if s.o.master.Address != addr("10.0.0.1:7800") {
		t.Errorf("got master %v; want the last one until the name is known", s.o.master.Address)
	}
	o := seenOrder{order: s.o.resolved(netip.MustParseAddr("10.0.0.2"), s.now.Add(time.Second))}
	s.check("set 2", o)
	if !o.master.Seen.Equal(s.now) || o.confirm != 7 {
		t.Errorf("got master seen at %v, confirmed as of %v; want the time of the answer that named it and 7", o.master.Seen, o.confirm)
	}
	s.want("", says(0, 11, master(1, 10), named))
	again := named
	again.modify = 12
	s.want("", polled(11, says(0, 12, again))) // its address stays while it is looked up again
	if s.o.isNameless() {
		t.Error("got the new registration taken for another master; want the same until its name stands for another address")
	}
	s.check("", seenOrder{order: s.o.resolved(netip.MustParseAddr("10.0.0.2"), s.now)})
	moved := s.now.Add(time.Hour)
	o.order = s.o.resolved(netip.MustParseAddr("10.0.0.3"), moved)
	s.check("set 3", o)
	if !o.master.Seen.Equal(moved) {
		t.Errorf("got master seen at %v; want %v, when its name moved", o.master.Seen, moved)
	}
	again.port = 7801
	s.want("", polled(12, says(0, 13, again)))
	if !s.o.isNameless() {
		t.Error("got another port taken for the same master; want it looked up")
	}
	s.check("set 3", seenOrder{order: s.o.resolved(netip.MustParseAddr("10.0.0.3"), s.now)})
	s.want("clear", read(says(0, 14)))
	s.check("", seenOrder{order: s.o.resolved(netip.MustParseAddr("10.0.0.3"), s.now)}) // too late
	s.state(None, 0)
	s.check("", seenOrder{order: s.o.resolved(netip.Addr{}, s.now)})
}

func TestReadThatWasOvertakenByALongPollIsNotActedOn(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	early := read(says(0, 10, master(1, 10)))
	early.began = s.now
	s.want("set 2", polled(10, says(0, 11, master(2, 11))))
	early.arrived = s.now.Add(time.Millisecond)
	s.check("", s.o.observe(early)) // overtaken: neither acted on nor a regress
	s.state(Found, 1)
	if s.o.master.Address != addr("10.0.0.2:7800") {
		t.Errorf("got master %v; want 10.0.0.2:7800", s.o.master)
	}
}

func TestIndexBackwardsIsVerifiedBeforeItCounts(t *testing.T) {
	for _, lower := range []uint64{0, 1, 5, 9} {
		t.Run(fmt.Sprint(lower), func(t *testing.T) {
			s := newScript(t, 1)
			s.want("set 1", says(0, 10, master(1, 10)))
			s.want(" verify reset", polled(10, says(0, lower, master(2, 3))))
			s.state(Found, 1)
			s.want("set 2", read(says(0, lower, master(2, 3))))
			s.want("set 3", read(says(0, lower+1, master(3, 4))))
		})
	}
}

func TestIndexBackwardsOnceIsForgotten(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want(" verify reset", polled(10, says(0, 3, master(2, 3))))
	s.want("", read(says(0, 10, master(1, 10))))
	s.want("", says(0, 10, master(1, 10)))
	s.want("set 3", polled(10, says(0, 11, master(3, 11))))
}

func TestUnusableIndexFromTheStartStillFindsTheMaster(t *testing.T) {
	s := newScript(t, 1)
	s.want(" verify", says(0, 0, master(1, 10)))
	s.want("set 1", read(says(0, 0, master(1, 10))))
	s.want(" verify", says(0, 0, master(2, 11)))
	s.want("set 2", read(says(0, 0, master(2, 11))))
}

func TestSameIndexWithANewBodyIsVerified(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want(" verify", polled(10, says(0, 10, master(2, 10))))
	s.want("", read(says(0, 10, master(1, 10))))
	s.want(" verify", polled(10, says(0, 10, master(2, 10))))
	s.want("set 2", read(says(0, 10, master(2, 10))))
}

func TestWipedDevAgentIsFollowedAtOnce(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want(" verify reset", says(0, 12))
	s.want("clear", read(says(0, 12)))
	s.state(None, 0)
	s.want("set 1", polled(12, says(0, 20, master(1, 20))))
}

func TestLateAnswerFromBeforeTheWipeDoesNotCount(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 500, master(1, 400)))
	late := polled(500, says(0, 501, master(2, 501)))
	late.began = s.now
	s.want(" verify reset", says(0, 12, master(3, 12)))
	s.want("set 3", read(says(0, 12, master(3, 12))))
	late.arrived = s.now.Add(time.Millisecond)
	s.check(" verify", s.o.observe(late))
	s.state(Found, 1)
	s.want("set 4", polled(12, says(0, 13, master(4, 13))))
}
