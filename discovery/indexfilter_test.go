package discovery

import (
	"testing"
	"time"
)

func TestLaggingAgentCannotRollBack(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("", says(1, 10, master(1, 10)))
	s.want("set 2", polled(10, says(0, 11, master(2, 11))))
	for range 100 { // it lags for ever, even in consistent reads, while the other is well
		s.want("", polled(10, says(1, 10, master(1, 10))))
		s.want("", read(says(1, 10, master(1, 10))))
		s.want("", read(says(0, 11, master(2, 11))))
	}
	s.want("", says(1, 11, master(2, 11)))
	s.want("set 3", polled(11, says(1, 12, master(3, 12)))) // and is welcome once it has caught up
}

func TestLaggingAgentAloneCannotRollBackSoon(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 2", says(0, 11, master(2, 11)))
	for range 28 { // the one with the newest answer is dead
		s.want("", read(says(1, 10, master(1, 10))))
	}
	s.state(Found, 1)
}

func TestHiccupOfOneAgentDoesNotPutTheLaggingOneInFront(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 2", says(0, 11, master(2, 11)))
	s.want(" verify reset", polled(11, says(0, 3, master(3, 3))))
	s.want("", read(says(1, 10, master(1, 10))))
	s.want("", read(says(0, 11, master(2, 11))))
	s.state(Found, 1)
}

func TestHiccupThatIsOverDoesNotMakeALaggingAgentBelievedSooner(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("", read(says(1, 10, master(1, 10))))
	s.want(" verify reset", polled(10, says(1, 3, master(3, 3))))
	s.want("", read(says(1, 10, master(1, 10))))
	s.want("set 2", polled(10, says(0, 11, master(2, 11)))) // and dies
	for range 20 {
		s.want("", read(says(1, 10, master(1, 10))))
	}
	s.state(Found, 1)
}

func TestHungAgentDoesNotDelayAFailover(t *testing.T) {
	s := newScript(t, 3)
	s.want("set 1", says(0, 10, master(1, 10)))
	s.want("set 2", polled(10, says(2, 11, master(2, 11))))
}

func TestNoAgentIsBelievedForEverOnceTheHigherIndexIsGone(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 2", says(0, 11, master(2, 11)))
	for i := range 60 {
		o := s.give(read(says(1, 10, master(1, 10)))) // confirmed again and again
		if o.do == setMaster {
			if i < 28 {
				t.Fatalf("believed after %d s; want not before 30 s", i)
			}
			s.want("set 3", polled(10, says(1, 11, master(3, 11))))
			return
		}
	}
	t.Fatal("never believed")
}

func TestClusterRestoredAtALowerIndexIsFollowedByAllAgents(t *testing.T) {
	s := newScript(t, 3)
	for i := range 3 {
		s.want(map[bool]string{true: "set 1"}[i == 0], says(i, 500, master(1, 400)))
		s.want("", read(says(i, 500, master(1, 400))))
	}
	// The long polls of all wake with the restored state: nobody is believed
	// before a consistent read, nor while another has lately confirmed 500.
	for i := range 3 {
		s.want(" verify reset", polled(500, says(i, 90, master(2, 80))))
	}
	s.want("set 2", read(says(0, 90, master(2, 80))))
	// The others count again from their own consistent reads on.
	s.want(" verify", polled(90, says(1, 91, master(3, 91))))
	s.want("set 3", read(says(1, 91, master(3, 91))))
	s.want("set 4", polled(91, says(1, 92, master(4, 92))))
	s.want(" verify", polled(90, says(2, 93, master(5, 93))))
	s.want("", read(says(0, 92, master(4, 92))))
}

func TestAgentThatLagsBehindARestoredClusterIsNotBelievedSoon(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400))))
	for i := range 2 {
		s.want(" verify reset", polled(500, says(i, 90, master(2, 80))))
	}
	s.want("set 2", read(says(0, 90, master(2, 80)))) // and dies
	s.want(" reset", read(says(1, 70, master(3, 70))))
	for range 20 { // that it is below what it showed of another past says nothing of this one
		s.want("", read(says(1, 70, master(3, 70))))
	}
	s.state(Found, 1)
}

func TestOneAgentWithAWipedCatalogIsNotBelievedBesideAHealthyOne(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400))))
	s.want(" verify reset", says(0, 12))
	for range 60 {
		s.want("", read(says(0, 12)))
		s.want("", read(says(1, 500, master(1, 400))))
	}
	s.state(Found, 1)
}

func TestWipeIsFollowedOnceTheConfirmationOfTheFrozenAgentIsOver(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400)))) // its last answer: then it freezes
	frozen := s.now
	s.want(" verify reset", says(0, 12, master(2, 12)))
	for {
		o := s.give(read(says(0, 12, master(2, 12))))
		if o.do == setMaster {
			break
		}
		if s.now.Sub(frozen) > 15*time.Second { // its confirmation is valid for 8 s
			t.Fatal("not followed in time")
		}
	}
	// It thaws, with what it had on its way, and goes on repeating its cache.
	late := polled(500, says(1, 501, master(1, 400)))
	late.began, late.arrived = frozen, s.now.Add(time.Second)
	s.check(" verify", s.o.observe(late))
	s.want(" verify", polled(501, says(1, 501, master(1, 400))))
	s.want(" reset", read(says(1, 12, master(2, 12))))
	s.state(Found, 1)
	if s.o.master.Address != addr("10.0.0.2:7800") {
		t.Errorf("got master %v; want 10.0.0.2:7800", s.o.master)
	}
}

func TestLongPollThatRepeatsAnIndexConfirmsNothing(t *testing.T) {
	// A streaming agent whose server is frozen answers 200 with the old index
	// for half a minute: that must not hold up those who see the truth.
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400))))
	s.want(" verify reset", says(0, 12, master(2, 12)))
	for range 20 {
		s.give(polled(500, says(1, 500, master(1, 400))))
		if s.give(read(says(0, 12, master(2, 12)))).do == setMaster {
			return
		}
	}
	t.Fatal("never followed")
}

func TestLongPollThatRepeatsAnIndexOvertakesNoProofOfAWipe(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400))))
	s.want(" verify reset", says(0, 12, master(2, 12)))
	for range 20 { // the other is frozen, and repeats what it knew while each read is on its way
		proof := read(says(0, 12, master(2, 12)))
		proof.began, proof.begun = s.now, s.now.Sub(scriptBegins)
		s.give(polled(500, says(1, 500, master(1, 400))))
		proof.arrived = s.now.Add(time.Millisecond)
		if s.o.observe(proof).do == setMaster {
			return
		}
	}
	t.Fatal("never followed")
}

func TestIndexThatWentBackwardsIsCountedOnce(t *testing.T) {
	s := newScript(t, 2)
	s.want("set 1", says(0, 500, master(1, 400)))
	s.want("", read(says(1, 500, master(1, 400))))
	s.want(" reset", read(says(0, 3)))
	s.want(" verify", polled(500, says(0, 3))) // the long poll from before sees it as well
}

func TestReadThatWasOvertakenIsNoProofOfAWipe(t *testing.T) {
	s := newScript(t, 1)
	s.want("set 1", says(0, 10, master(1, 10)))
	early := read(says(0, 10, master(1, 10)))
	early.began = s.now
	s.want("set 2", polled(10, says(0, 11, master(2, 11))))
	s.want(" verify reset", polled(11, says(0, 3, master(3, 3)))) // a hiccup
	early.arrived = s.now.Add(time.Millisecond)
	s.check("", s.o.observe(early))
}
