package proxy

import (
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// TestPaceLetsNoMoreGoThanItsRate: whatever the shards are late by.
func TestPaceLetsNoMoreGoThanItsRate(t *testing.T) {
	p := newPace(100, 1)
	p.begin(0, ms, 1000*ms)
	allowed := 0
	for now := 1000 * ms; now < 2000*ms; now += 3 * ms {
		if now > 1300*ms && now < 1500*ms { // the shard stood still
			continue
		}
		for ok := true; ok; {
			if ok, _, _ = p.allow(0, ms, now); ok {
				allowed++
			}
		}
		if most := 1 + int(now-1000*ms)/int(10*ms); allowed > most {
			t.Fatalf("after %d ms: got %d allowed; want at most %d", now/ms-1000, allowed, most)
		}
	}
	if allowed < 75 || allowed > 82 {
		t.Errorf("in 0.8 s: got %d allowed; want about 80", allowed)
	}
}

func TestPaceSaysWhenTheNextMayGo(t *testing.T) {
	p := newPace(100, 1)
	p.begin(0, ms, 1000*ms)
	if ok, _, _ := p.allow(0, ms, 1000*ms); !ok {
		t.Fatal("the first: got no; want it allowed")
	}
	if ok, again, before := p.allow(0, ms, 1003*ms); ok || again != 1010*ms || before >= 0 {
		t.Errorf("the second: got %t, again at %d ms, behind shard %d; want no, at 1010, behind none", ok, again/ms, before)
	}
}

// TestPaceLetsTheOldestOfAllShardsGoFirst: a shard whose first came later is told
// who goes before it, and asks again.
func TestPaceLetsTheOldestOfAllShardsGoFirst(t *testing.T) {
	p := newPace(100, 3)
	p.begin(0, ms, 1000*ms)
	p.add()
	p.add()
	p.allow(0, 5*ms, 1000*ms) // goes; shard 0 waits on, with one that came at the same time
	if ok, again, before := p.allow(1, 7*ms, 1020*ms); ok || before != 0 || again <= 1020*ms || again > 1021*ms {
		t.Errorf("a later one: got %t, again at %d ms, behind shard %d; want no, a moment later, behind 0", ok, again/ms, before)
	}
	if ok, _, _ := p.allow(2, 3*ms, 1020*ms); !ok {
		t.Error("the oldest: got no; want it allowed")
	}
	p.remove(2, true)
	p.remove(0, true) // the clients of shard 0 have left
	if ok, _, _ := p.allow(1, 7*ms, 1040*ms); !ok {
		t.Error("the later one, when no other shard has any: got no; want it allowed")
	}
}

// TestPaceOfShortIntervalsLetsAShardGoOn: for 2 ms, since to ask another takes longer than an interval.
func TestPaceOfShortIntervalsLetsAShardGoOn(t *testing.T) {
	for rate, want := range map[int]int{100: 1, 400: 1, 2000: 5} {
		p := newPace(rate, 2)
		p.begin(0, 5*ms, 1000*ms)
		p.begin(1, 7*ms, 1000*ms)
		now, allowed := 1000*ms, 0
		for ok, head := true, 5*ms; ok && allowed < 100; head = 9 * ms {
			if ok, _, _ = p.allow(0, head, now); ok {
				allowed++
			}
			now += int64(time.Second) / int64(rate)
		}
		if allowed != want {
			t.Errorf("at %d a second: got %d of one shard before the older one of the other; want %d", rate, allowed, want)
		}
	}
}

// TestPaceLetsNobodyGoBeforeAllShardsKnowTheMaster: the last may have the oldest.
func TestPaceLetsNobodyGoBeforeAllShardsKnowTheMaster(t *testing.T) {
	p := newPace(100, 2)
	p.expect()
	p.begin(0, 5*ms, 1000*ms)
	if ok, again, _ := p.allow(0, 5*ms, 1001*ms); ok || again <= 1001*ms || again > 1002*ms {
		t.Errorf("before the other shard has begun: got %t, again at %d ms; want no, a moment later", ok, again/ms)
	}
	p.begin(1, never, 1002*ms)
	if ok, _, _ := p.allow(0, 5*ms, 1003*ms); !ok {
		t.Error("when all have begun: got no; want it allowed")
	}
}

// TestPaceEndsWhenMoreComeThanItLetsGo: the rate is for those that were waiting
// when the master came; it doubles each second for who came behind them.
func TestPaceEndsWhenMoreComeThanItLetsGo(t *testing.T) {
	const rate, arrivals = 10, 100 // a second
	p := newPace(rate, 1)
	p.begin(0, ms, 1000*ms)
	var queue []int64
	for range 2 * rate {
		queue = append(queue, 500*ms)
	}
	for range queue {
		p.add()
	}
	perSecond := map[int64]int{}
	for now := 1000 * ms; now < 20_000*ms; now += ms {
		if now%(1000/arrivals*ms) == 0 {
			queue = append(queue, now)
			p.add()
		}
		for len(queue) > 0 {
			if ok, _, _ := p.allow(0, queue[0], now); !ok {
				break
			}
			queue = queue[1:]
			p.remove(0, len(queue) == 0)
			perSecond[now/(1000*ms)]++
		}
		if now > 3000*ms && len(queue) == 0 {
			break
		}
	}
	if len(queue) > 0 {
		t.Errorf("after 20 s: got %d that wait still; want none", len(queue))
	}
	for second := int64(1); second <= 3; second++ {
		if got := perSecond[second]; got < rate-1 || got > rate+1 {
			t.Errorf("second %d: got %d; want about %d", second, got, rate)
		}
	}
	if p.hasQueue() || p.freed != 0 {
		t.Errorf("at the end: got a queue %t, freed %d; want the rate to be the first again", p.hasQueue(), p.freed)
	}
}

func TestNoPaceIsNone(t *testing.T) {
	p := newPace(0, 1)
	p.add()
	p.expect()
	p.begin(0, 0, 0)
	p.remove(0, true)
	if p != nil || p.hasQueue() {
		t.Errorf("got %+v; want none", p)
	}
}

// TestShardsAreExpectedWhenClientsMayGoAgain, for whatever reason: until each has
// said how long its first has waited, another's would go before it.
func TestShardsAreExpectedWhenClientsMayGoAgain(t *testing.T) {
	p, s := withMaster(t, Config{ReleaseRate: 1})
	lb := p.labels[0]
	expected := func() int {
		lb.pace.mu.Lock()
		defer lb.pace.mu.Unlock()
		return lb.pace.expected
	}
	want := func(when string, n int) {
		t.Helper()
		if got := expected(); got != n {
			t.Errorf("%s: got %d shards expected; want %d", when, got, n)
		}
	}

	set := make(chan struct{})
	go func() {
		defer close(set)
		p.SetMaster("default", elsewhere)
	}()
	eventually(t, "the message of the failover", s.mail.urgent.Load)
	want("another master", 1)
	s.readUrgent()
	<-set
	want("another master, which the shard knows", 0)

	p.Lose("default", Loss{})
	p.SetMaster("default", elsewhere)
	want("the same master, back", 1)
	s.runTasks()
	want("the same master, which the shard knows", 0)

	if _, err := p.orderPause(lb, PauseOrder{By: "test", For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := p.Resume("default", "test"); err != nil {
		t.Fatal(err)
	}
	want("the end of a pause", 1)
	s.runTasks()
	want("the end of a pause, which the shard knows", 0)
}

// TestRateForNewcomersRisesAnewBehindEachMaster.
func TestRateForNewcomersRisesAnewBehindEachMaster(t *testing.T) {
	const rate = 10
	p := newPace(rate, 1)
	const interval = int64(time.Second / rate)
	now := int64(time.Hour)
	for range 2 { // masters, far apart
		p.begin(0, now, now)
		for range 2 { // newcomers
			p.add()
			now++
			due := max(p.next, now)
			if ok, _, _ := p.allow(0, now, due); !ok {
				t.Fatal("its turn has come, and it may not go")
			}
			if got := p.next - due; got != interval {
				t.Errorf("the next may go after %v; want after %v", time.Duration(got), time.Duration(interval))
			}
		}
		now += int64(time.Minute)
	}
}
