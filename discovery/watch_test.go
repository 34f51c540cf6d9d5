package discovery

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// byLabel are instances of which each claims to be master of the label with its name.
func byLabel(of map[string]candidate) *instances {
	in := &instances{all: &claims{}, byLabel: make(map[string]*claims)}
	for label, c := range of {
		in.all.candidates = append(in.all.candidates, c)
		in.byLabel[label] = &claims{candidates: []candidate{c}}
		in.entries++
	}
	return in
}

// shows is an answer that names masters by label.
func shows(index uint64, of map[string]candidate) answer {
	a := answer{kind: none, index: index, instances: byLabel(of)}
	if len(of) > 0 {
		a.kind = found
	}
	return a
}

// takes is a watch that is handed answers.
type takes struct {
	*watch
	now time.Time
}

func newTakes(t *testing.T, agents int) *takes {
	t.Helper()
	c := quick("127.0.0.1:1")
	for i := range agents - 1 {
		c.Addresses = append(c.Addresses, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(2+i)).String())
	}
	s, err := NewConsul(c, zerolog.Nop())
	must(t, err)
	return &takes{watch: newWatch(9, aboutService("", "sync", nil), s.config, needs{}, s.agents, zerolog.Nop()), now: time.Now()}
}

// give hands a over, and reports whether its address is to be read consistently.
func (w *takes) give(a answer) (verify bool) {
	w.now = w.now.Add(time.Millisecond)
	a.began, a.arrived = w.now, w.now
	if a.consistent && a.begun == 0 {
		a.begun = w.outage.begin()
	}
	w.take(a)
	return w.wanted(a.agent)
}

func (w *takes) wanted(agent int) bool {
	select {
	case <-w.verify[agent]:
		return true
	default:
		return false
	}
}

func (w *takes) subscriber(label string) *subscription {
	s := &subscription{label: label, changed: make(chan struct{}, 1)}
	w.join(s)
	return s
}

// news reports whether s was told that there is something new.
func news(s *subscription) bool {
	select {
	case <-s.changed:
		return true
	default:
		return false
	}
}

func TestLabelThatVanishesFromALongPollIsVerifiedAtOnce(t *testing.T) {
	w := newTakes(t, 1)
	a, b := w.subscriber("a"), w.subscriber("b")
	both := map[string]candidate{"a": master(1, 9), "b": master(2, 10)}
	if w.give(shows(10, both)) {
		t.Error("both are there: got a read wanted; want none")
	}
	if !news(a) || !news(b) || a.see().claims.candidates[0] != both["a"] || b.see().claims.candidates[0] != both["b"] {
		t.Fatalf("got %+v and %+v; want each its own", a.see(), b.see())
	}
	gone := map[string]candidate{"a": master(1, 9)}
	if !w.give(shows(11, gone)) || news(b) || b.see().kind != found {
		t.Fatalf("b has vanished: got view %+v; want it kept, and a read wanted", b.see())
	}
	if w.give(read(shows(11, gone))) || !news(b) || b.see().kind != none || a.see().kind != found {
		t.Fatalf("b has vanished by a read: got views %+v and %+v; want nobody for b alone", a.see(), b.see())
	}
	if w.give(shows(12, gone)) {
		t.Error("b is gone already: got a read wanted; want none at each long poll")
	}
}

func TestSubscriberSeesTheLastAnswerAtOnce(t *testing.T) {
	w := newTakes(t, 2)
	w.give(shows(10, map[string]candidate{"a": master(1, 9)}))
	if late := w.subscriber("a"); !news(late) || late.see().kind != found || w.wanted(0) || w.wanted(1) {
		t.Errorf("got view %+v; want what was answered last, and no read wanted", late.see())
	}
	if late := w.subscriber("b"); late.see().kind != unknown || !w.wanted(0) || !w.wanted(1) {
		t.Errorf("one who is not in it: got view %+v; want it unknown, and a read of each address wanted", late.see())
	}
	for len(w.subscribers) > 1 {
		if w.leave(w.subscribers[0]) {
			t.Error("got it said that nobody is left; want one")
		}
	}
	if !w.leave(w.subscribers[0]) {
		t.Error("got it said that somebody is left; want nobody")
	}
}

func TestReadThatDoesNotCountEndsNoOutage(t *testing.T) {
	w := newTakes(t, 2)
	w.give(read(shows(10, map[string]candidate{"a": master(1, 9)})))
	if first, answered := w.outage.since(); first != 0 || answered == 0 {
		t.Errorf("got an outage since %v, answered %v; want none", first, answered)
	}
	lags := read(shows(8, map[string]candidate{"a": master(1, 8)}))
	lags.agent = 1
	w.give(lags)
	if first, _ := w.outage.since(); first == 0 {
		t.Error("an address lags: got the read answered; want it to go unanswered")
	}
}

func TestOutageLastsForTheMostPatientSubscriber(t *testing.T) {
	c := quick().withDefaults()
	c.OnOutage, c.FenceAfter = Fence, time.Hour
	hurried, keeping := c, c
	hurried.FenceAfter, keeping.OnOutage = 900*time.Millisecond, Keep
	n := needs{}.of(c).of(hurried).of(keeping)
	if n.fencing != time.Hour || n.verifyTimeout != 900*time.Millisecond {
		t.Errorf("got an outage of %v, reads of %v at most; want that of the patient, reads for the hasty", n.fencing, n.verifyTimeout)
	}
	w := newTakes(t, 1)
	w.fencing = n.fencing
	patient, hasty, keeps := w.subscriber(""), w.subscriber(""), w.subscriber("")
	patient.fences, hasty.fences = true, true
	w.outage.add(clock.SinceBoot() - 2*time.Second)
	if w.isFenced() {
		t.Error("got everybody taken to have fenced; want the patient waited for")
	}
	w.tellFencing()
	if !news(patient) || !news(hasty) || news(keeps) {
		t.Error("a read has begun: want those told who fence, and nobody else")
	}
}

func TestViewIsWhatCountsForALabel(t *testing.T) {
	filtered := func(a answer) answer { a.filtered = errors.New("filtered"); return a }
	spoilt := func(a answer) answer { a.instances.malformed++; return a }
	begun := func(at time.Duration, a answer) answer { a = read(a); a.begun = at; return a }
	a, other := map[string]candidate{"a": master(1, 9)}, map[string]candidate{"b": master(2, 9)}
	var v view
	for i, step := range []struct {
		a      answer
		kind   kind
		begun  time.Duration
		denied string
		verify bool
	}{
		{begun(1, filtered(shows(10, other))), unknown, 0, "filtered", false},
		{begun(2, spoilt(shows(10, other))), unknown, 0, "filtered", false},
		{begun(3, filtered(shows(10, a))), found, 3, "", false}, // what is in it counts
		{begun(4, filtered(shows(11, other))), found, 3, "filtered", false},
		{begun(6, shows(11, a)), found, 6, "", false},
		{begun(5, shows(11, a)), found, 6, "", false}, // overtaken
		{begun(7, spoilt(shows(12, other))), found, 6, "", false},
		{shows(12, other), found, 6, "", true},
		{begun(8, shows(12, other)), none, 8, "", false},
		{shows(13, other), none, 8, "", false},
		{shows(14, a), found, 0, "", false},
	} {
		var verify bool
		v, verify = v.after(step.a, "a")
		if v.kind != step.kind || v.begun != step.begun || v.denied != step.denied || verify != step.verify {
			t.Fatalf("step %d: got %+v, verify %t; want kind %d, begun %d, denied %q, verify %t", i, v, verify, step.kind, step.begun, step.denied, step.verify)
		}
	}
}
