package proxy

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// TestAttemptsAreSpreadAtRandom: the clients of a master that is back do not
// come in step.
func TestAttemptsAreSpreadAtRandom(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	for attempt, longest := range map[uint8]time.Duration{1: 20 * time.Millisecond, 4: 160 * time.Millisecond, 16: time.Second} {
		least, most := longest, time.Duration(0)
		for range 1000 {
			d := s.backoff(attempt)
			least, most = min(least, d), max(most, d)
		}
		if least < longest/2 || most > longest || most-least < longest/4 {
			t.Errorf("attempt %d comes after %v to %v; want anything between %v and %v", attempt+1, least, most, longest/2, longest)
		}
	}
}

func TestNoAttemptBeginsWhenTheHoldTimeoutIsOver(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: time.Second}, nopLog)
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(echo(t))}))
	c, _ := s.adopt(t, held)
	c.dials = 1
	c.waitingSince -= int64(time.Second)
	s.timers.arm(c.index, c.holdDeadline(s.loop))
	s.now = s.clock.now()
	s.expire()
	if got := s.counters[0].closed; got[ConnectFailed] != 1 {
		t.Errorf("closed by reason: got %v; want one that could not be connected", got)
	}
	if got := s.counters[0].dialFailures; got != [len(dialErrors)]uint64{} {
		t.Errorf("failed dials: got %v; want none", got)
	}
}

func TestAttemptsAreLimitedByTheHoldTimeoutAndCountNoFurtherThanTheBackoffGrows(t *testing.T) {
	_, s := stopped(t, Config{HoldTimeout: 100 * time.Millisecond}, nopLog)
	c, _ := s.adopt(t, dialing)
	for range 300 { // a counter of eight bits has gone round by then
		c.waitingSince = s.clock.now()
		c.epoch = c.label.current.Load()
		c.dialTimedOut(s.loop)
		if at, armed := s.timers.deadlineOf(c.index); !armed || at > c.holdDeadline(s.loop) {
			t.Fatalf("the next attempt is at %d, %v; want it by the end of the hold timeout, %d", at, armed, c.holdDeadline(s.loop))
		}
	}
}

func TestClientThatIsHeldAfterAFailedDialHasNoMaster(t *testing.T) {
	p, address := running(t, Config{Shards: 1, HoldTimeout: testTimeout}, "")
	dialed(t, address)
	inState(t, p, held, 1)
	onShard(p, 0, func(s *shard) {
		c := s.only()
		c.epoch, c.state = newEpoch(1, elsewhere), dialing
		c.dialTimedOut(s.loop)
	})
	if got := p.Connections(Filter{}); len(got) != 1 || got[0].State != "held" || got[0].Master != "" {
		t.Errorf("got %+v; want one held, without a master", got)
	}
}

// TestDialThatIsTakenBackWasNoFailure: what came of those before it does not name
// the end of a client whose master was in doubt to the last.
func TestDialThatIsTakenBackWasNoFailure(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	p.labels[0].current.Store(newEpoch(1, elsewhere))
	c, _ := s.adopt(t, dialing)
	c.epoch, c.dials = p.labels[0].current.Load(), 1
	c.takeBack(s.loop)
	c.waitingSince -= int64(testTimeout)
	s.now = s.clock.now()
	c.holdTimedOut(s.loop)
	if got := s.counters[0].closed; got[NoMaster] != 1 {
		t.Errorf("closed by reason: got %v; want one for want of a master", got)
	}
}

// TestSlowPeersOfTheOnlyLabelTakeNoPlaceOfTheHeld: there is no other to keep slots for.
func TestSlowPeersOfTheOnlyLabelTakeNoPlaceOfTheHeld(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout, ConnectTimeout: testTimeout / 2}, nopLog)
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(echo(t))}))
	c, _ := s.adopt(t, arrived)
	c.dial(s.loop)
	if at, _ := s.timers.deadlineOf(c.index); at != c.dialDeadline(s.loop) {
		t.Errorf("a connect under way is looked at after %v; want after its timeout, %v", time.Duration(at-c.dialled), testTimeout/2)
	}
	c, _ = s.adopt(t, arrived)
	c.awaitHeader(s.loop)
	if at, _ := s.timers.deadlineOf(c.index); at != c.headerDeadline(s.loop) {
		t.Errorf("a header under way is looked at after %v; want after %v", time.Duration(at-c.accepted), headerTimeout)
	}
}

// TestDialThatMeetsAShortageStopsAccepting at once: new clients must not take
// what those here need.
func TestDialThatMeetsAShortageStopsAccepting(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	s.acceptAgain()
	dialed(t, p.listeners.sockets[0].bound.String())
	c, _ := s.adopt(t, dialing)
	c.epoch = c.label.current.Load()
	c.dialFailed(s.loop, unix.EMFILE)
	s.acceptFrom(0)
	if s.accepted != 0 {
		t.Errorf("accepted: got %d; want none", s.accepted)
	}
	s.noteShortage()
	if s.accepting {
		t.Error("the listeners are not left")
	}
}

func TestShardSleepsNoLongerThanUntilAcceptingIsTriedAgain(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	s.shortage = unix.EMFILE
	s.noteShortage()
	if got := s.pollTimeout(); got > shortageRetry {
		t.Errorf("got %v; want %v at most", got, shortageRetry)
	}
}

func TestClientThatHasResetIsNotDialledFor(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	p.labels[0].current.Store(newEpoch(1, multicast)) // a dial would fail
	c, _ := s.adopt(t, arrived)
	c.queueRelease(s.loop)
	c.onEvent(s.loop, client, sock.ReadyError)
	s.release()
	if got := s.counters[0]; got.closed[ClientReset] != 1 || got.dialFailures != [len(dialErrors)]uint64{} {
		t.Errorf("closed by reason, failed dials: got %v, %v; want one reset by the client, none", got.closed, got.dialFailures)
	}
}

func TestClientThatHasLeftIsNotHeld(t *testing.T) {
	_, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	c, peers := s.adopt(t, arrived)
	if err := sock.SendFIN(peers[client]); err != nil {
		t.Fatal(err)
	}
	c.onEvent(s.loop, client, sock.ReadyIn|sock.ReadyFIN)
	c.dial(s.loop)
	if got := s.counters[0].closed; got[ClientClosed] != 1 {
		t.Errorf("closed by reason: got %v; want one closed by the client", got)
	}
}

func TestHoldTimeoutNamesWhatWasMissing(t *testing.T) {
	for _, c := range []struct {
		name     string
		attempts uint8
		master   Master
		want     Reason
	}{
		{"attempts failed", 1, elsewhere, ConnectFailed},
		{"attempts failed, and then the master was lost", 1, Master{}, NoMaster},
		{"no attempt", 0, Master{}, NoMaster},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := stopped(t, Config{HoldTimeout: time.Second}, nopLog)
			p.labels[0].current.Store(newEpoch(1, c.master))
			waits, _ := s.adopt(t, held)
			waits.dials = c.attempts
			waits.waitingSince -= int64(time.Second)
			s.now = s.clock.now()
			waits.holdTimedOut(s.loop)
			if got := s.counters[0].closed; got[c.want] != 1 {
				t.Errorf("closed by reason: got %v; want one %v", got, c.want)
			}
		})
	}
}

// TestAnswerIsWhatSaysThatItIsOne: nothing else that epoll says of a socket is a
// connection, which has the rest of its options before they can be needed.
func TestAnswerIsWhatSaysThatItIsOne(t *testing.T) {
	_, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	c, _ := s.adopt(t, relaying)
	c.state, c.sides[master].writable = dialing, false
	s.timers.arm(c.index, math.MaxInt64)
	c.onEvent(s.loop, master, sock.ReadyUrgent)
	if c.state != dialing {
		t.Errorf("got state %v; want it dialing", c.state)
	}
	c.onEvent(s.loop, master, sock.ReadyOut)
	if c.state != relaying {
		t.Fatalf("got state %v; want it relaying", c.state)
	}
	if at, _ := s.timers.deadlineOf(c.index); at != c.lastActive+int64(lateOptionsAfter) {
		t.Errorf("its options are due at %d; want %d", at, c.lastActive+int64(lateOptionsAfter))
	}
}

func TestConnectionThatEndsTakesItsDeadlineAlong(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	c, _ := s.adopt(t, held)
	slot := c.index
	s.timers.arm(slot, s.now)
	c.finish(s.loop, Killed, byRST)
	if at, armed := s.timers.deadlineOf(slot); armed {
		t.Errorf("whoever has its slot next has a deadline at %d; want none", at)
	}
}
