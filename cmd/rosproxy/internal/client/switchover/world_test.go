package switchover

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// The world that the search goes through: a command, two instances, the
// election that they follow, and what may go wrong, each a few times at most.
// Time goes in ticks; all that happens in one tick may happen in any order.

const (
	size     = 2
	troubled = 0 // the instance at which something goes wrong; they are alike

	ours   = "ours"
	others = "others"
)

var config = Config{For: 3, Wait: 3, Settle: 1, Command: true, Poll: 1, Silence: 1, Give: 2}

// The masters, by the number of elections before them.
func master(elections int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1000+elections))
}

// budget is how often each thing may still happen.
type budget struct {
	elections int // beside the command's
	losses    int // of a request or an answer
	upgrades  int
	deaths    int // of an instance, which starts anew
	signals   int
	kills     int // of the command's process
	others    int // pauses by another command
	delays    int // ticks that pass while requests, answers or reads are under way
}

// rules that a sub-test leaves out, to see that the search finds why they are there.
type rules struct {
	dropPauseInUpgrade   bool // a successor knows of no pause
	forgetOldGenerations bool // their live connections do not count
	beginInsteadOfMove   bool // an instance takes Move for Begin
	releaseAtOnce        bool // the clients of a pause go when it ends
	ownerIsIgnored       bool // whoever may move a pause and resume
}

// instance is one instance of the tier.
type instance struct {
	pause    pausing.State
	elected  int  // elections that it knows of
	live     bool // a client is connected
	oldLive  bool // to a generation that drains
	held     bool // a client waits
	reading  bool // a consistent read is under way
	readFrom time.Duration
	read     int // the elections that it will tell of

	asked    Request // on its way to it
	answered bool    // reply is on its way back
	reply    Reply
	died     bool
	ranOut   bool // a pause of the command's had its time
}

type world struct {
	now       time.Duration
	machine   Machine
	instances [size]instance
	elections int
	switched  time.Duration // when the last election was; below 0: never
	command   uint8         // notYet, runs, ended
	gone      time.Duration // when the command's process ended; below 0: it lives
	left      budget
	horizon   time.Duration // ticks
	rules     rules

	trail *trail // for the counterexample
	wrong string // an invariant that does not hold
}

// trail is what has happened, the last first.
type trail struct {
	before *trail
	at     time.Duration
	format string // of args: only a counterexample is put into words
	args   []any
}

func (t *trail) String() string {
	if t == nil {
		return ""
	}
	return t.before.String() + fmt.Sprintf("%3d ", t.at) + fmt.Sprintf(t.format, t.args...) + "\n"
}

const (
	notYet uint8 = iota
	runs
	ended
)

func newWorld(b budget, r rules, live bool, horizon time.Duration) world {
	c := config
	if b.delays > 1 { // a pause may end while the machine waits
		c.Wait = horizon + 1
	}
	w := world{horizon: horizon, machine: New(c, size), switched: -1, gone: -1, left: b, rules: r}
	for i := range w.instances {
		w.instances[i].live = live
	}
	w.step(Event{Kind: Ticked})
	return w
}

// clock is an instance's, by which nothing happens at 0.
func (w *world) clock() time.Duration { return w.now + 100 }

func (w *world) note(format string, args ...any) {
	w.trail = &trail{w.trail, w.now, format, args}
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// step gives the machine an event and carries out what it says.
func (w *world) step(e Event) {
	var orders []Order
	w.machine, orders = w.machine.Step(e, w.now)
	for _, o := range orders {
		switch o.Kind {
		case Ask:
			w.instances[o.Instance].asked = o.Request
			w.note("%d is asked: %v", o.Instance, o.Request)
		case Start:
			w.note("the command starts")
			w.command = runs
			w.checkStart()
		case Forward:
			w.note("the signal goes to the command")
		case Say:
			w.note("of %d is said: %s", o.Instance, o.Text)
		case Exit:
			w.note("exit %d %s", w.machine.Status, w.machine.Why)
			w.gone = w.now
			w.checkExit()
		}
	}
}

// checkStart: the command runs only when all are paused by it and quiet, but for
// an instance that has died since it has answered, or whose pause an election has
// ended: that nobody can know.
func (w *world) checkStart() {
	for i := range w.instances {
		u := &w.instances[i]
		s := u.pause.At(w.clock())
		if (u.live || u.oldLive) && u.elected == 0 && !u.died {
			w.fail("the command runs, and instance %d has a live connection", i)
		}
		if !(s.Lasts() && s.By == ours) && u.elected == 0 && !u.died {
			w.fail("the command runs, and instance %d is not paused", i)
		}
	}
}

// checkExit: nothing stays paused, unless the command says so.
func (w *world) checkExit() {
	said := map[int]bool{}
	for _, i := range w.machine.Left() {
		said[i] = true
	}
	for i := range w.instances {
		if s := w.instances[i].pause.At(w.clock()); s.Lasts() && s.By == ours && !said[i] {
			w.fail("the command has ended, and instance %d is paused", i)
		}
	}
	if w.command == runs {
		w.fail("the process has ended before the command that it has started")
	}
}

// clone copies what is shared.
func (w world) clone() *world { return &w }

// next are the worlds that may follow.
func (w *world) next() (all []*world) {
	if w.isOver() {
		return nil
	}
	do := func(f func(*world)) {
		n := w.clone()
		f(n)
		all = append(all, n)
	}
	if late := w.isBusy(troubled); w.now < w.horizon && !w.isBusy(1-troubled) && (!late || w.left.delays > 0) {
		do(func(n *world) {
			if late {
				n.left.delays--
			}
			n.tick()
		})
	}
	if w.gone < 0 {
		w.processNext(do)
	}
	if w.left.elections > 0 {
		do(func(n *world) { n.left.elections--; n.elect("by accident") })
	}
	for i := range w.instances {
		w.instanceNext(i, do)
	}
	return all
}

// isOver reports whether nothing can break any more.
func (w *world) isOver() bool {
	if w.gone < 0 {
		return false
	}
	for i := range w.instances {
		if u := &w.instances[i]; u.pause.Holds() || u.held || u.asked != None {
			return false
		}
	}
	return true
}

// isBusy reports whether something is under way at instance i.
func (w *world) isBusy(i int) bool {
	u := &w.instances[i]
	return u.asked != None || u.answered || u.reading
}

// processNext is what may happen to the command and its process.
func (w *world) processNext(do func(func(*world))) {
	if w.command == runs {
		if w.elections == 0 {
			do(func(n *world) { n.elect("by the command") })
		}
		for _, status := range []int{0, 1} {
			if status == 0 && w.elections == 0 {
				continue // it has done nothing
			}
			do(func(n *world) {
				n.note("the command ends with %d", status)
				n.command = ended
				n.step(Event{Kind: CommandEnded, Status: status})
			})
		}
	}
	if w.left.signals > 0 {
		do(func(n *world) { n.left.signals--; n.note("SIGTERM"); n.step(Event{Kind: Signalled}) })
	}
	if w.left.kills > 0 {
		do(func(n *world) {
			n.left.kills--
			n.note("the process is killed")
			n.gone = n.now
		})
	}
}

func (w *world) elect(by string) {
	w.elections++
	w.switched = w.clock()
	w.note("another master is elected, %s", by)
}

// tick lets time pass. Nobody is slower than a tick in what his own clock tells
// him to do, nor is a request on its way for longer, once its sender is gone.
func (w *world) tick() {
	w.now++
	for i := range w.instances {
		u := &w.instances[i]
		if w.gone >= 0 {
			u.asked, u.answered = None, false
		}
		if before := u.pause; before.Lasts() {
			u.pause = before.At(w.clock())
			u.ranOut = u.ranOut || before.By == ours && !u.pause.Lasts()
			w.after(i, before, "its time is over")
		}
		if u.pause.Lasts() && u.pause.By == ours && w.gone >= 0 && w.now > w.gone+config.For {
			w.fail("instance %d is paused at %d, and the command is gone since %d", i, w.now, w.gone)
		}
	}
	if w.gone < 0 {
		w.step(Event{Kind: Ticked})
		w.checkLapses()
	}
}

// checkLapses: when a pause has run out while the command runs, that is said at once.
func (w *world) checkLapses() {
	for i := range w.instances {
		u := &w.instances[i]
		if m := &w.machine.Instances[i]; w.machine.Phase == Running && u.ranOut && !m.Lapsed && !m.Over {
			w.fail("the pause of instance %d has run out while the command runs, and nothing says so", i)
		}
	}
}

// after notes how the pause of i has changed.
func (w *world) after(i int, before pausing.State, why string) {
	u := &w.instances[i]
	if before.Lasts() && !u.pause.Lasts() {
		w.note("%d: the pause of %s is over: %s", i, before.By, why)
	}
	if w.rules.releaseAtOnce && u.pause.Ended != 0 {
		u.pause.Ended, u.pause = 0, pausing.State{}
	}
	w.release(i, before)
}

// release lets the held client go when nothing holds it: to the new master, if
// that was elected before the pause had ended.
func (w *world) release(i int, before pausing.State) {
	u := &w.instances[i]
	if u.pause.Holds() || !u.held {
		return
	}
	u.held, u.live = false, true
	w.note("%d: its client goes to master %d", i, u.elected)
	end := before.Ended
	if end == 0 { // it ends with this
		end = w.clock()
	}
	if w.switched >= 0 && w.switched < end && u.elected < w.elections {
		w.fail("instance %d sends a client to master %d, and %d was elected at %d, before the end of the pause at %d", i, u.elected, w.elections, w.switched, end)
	}
}

// instanceNext is what may happen to instance i.
func (w *world) instanceNext(i int, do func(func(*world))) {
	u := &w.instances[i]
	if u.asked != None {
		do(func(n *world) { n.handle(i); n.deliver(i) })
		if i == troubled && w.left.delays+w.left.losses+w.left.kills > 0 {
			do(func(n *world) { n.handle(i) }) // something else may come before the answer
		}
		if i == troubled && w.left.losses > 0 {
			do(func(n *world) { n.left.losses--; n.lose(i, "the request") })
		}
	}
	if u.answered && w.gone < 0 {
		do(func(n *world) { n.deliver(i) })
		if i == troubled && w.left.losses > 0 {
			do(func(n *world) { n.left.losses--; n.lose(i, "the answer") })
		}
	}
	if !u.reading && (u.pause.Ended != 0 || u.pause.Lasts() && w.namedAt(i) == "" || u.elected < w.elections) {
		read := func(n *world) {
			v := &n.instances[i]
			v.reading, v.readFrom, v.read = true, n.clock(), n.elections
		}
		do(func(n *world) { read(n); n.endRead(i) })
		if i == troubled && w.left.delays > 0 {
			do(read)
		}
	}
	if u.reading {
		do(func(n *world) { n.endRead(i) })
	}
	if u.live || u.oldLive {
		do(func(n *world) {
			n.instances[i].live, n.instances[i].oldLive = false, false
			n.note("%d: its clients leave", i)
		})
	}
	if i == troubled && u.pause.Lasts() && !u.held {
		do(func(n *world) { n.instances[i].held = true; n.note("%d holds a client", i) })
	}
	if i == troubled {
		w.faultNext(i, do)
	}
}

// faultNext is what may go wrong at instance i.
func (w *world) faultNext(i int, do func(func(*world))) {
	if w.left.upgrades > 0 {
		do(func(n *world) { n.left.upgrades--; n.upgrade(i) })
	}
	if w.left.deaths > 0 {
		do(func(n *world) {
			n.left.deaths--
			n.note("%d dies and starts anew", i)
			before := n.instances[i]
			n.instances[i] = instance{elected: n.elections, died: true}
			if before.asked != None || before.answered {
				n.lose(i, "the request")
			}
		})
	}
	if w.left.others > 0 {
		do(func(n *world) {
			n.left.others--
			v := &n.instances[i]
			s, err := v.pause.Obey(pausing.Order{By: others, For: config.For}, master(v.elected), n.clock())
			n.note("%d: another command pauses: %v", i, err)
			if err == nil {
				v.pause = s
			}
		})
	}
}

// handle has instance i do what it is asked.
func (w *world) handle(i int) {
	u := &w.instances[i]
	r := u.asked
	u.asked, u.answered = None, w.gone < 0
	before := u.pause
	by := ours
	if w.rules.ownerIsIgnored {
		if by = before.By; by == "" {
			by = ours
		}
	}
	var err error
	switch r {
	case Begin, Move:
		o := pausing.Order{By: by, For: config.For, Move: r == Move && !w.rules.beginInsteadOfMove}
		u.pause, err = u.pause.Obey(o, master(u.elected), w.clock())
	case End:
		u.pause, err = u.pause.Resume(by, w.clock())
	}
	u.reply = Reply{Paused: u.pause.Lasts() && u.pause.By == by, Active: w.activeAt(i), Master: w.namedAt(i)}
	if err != nil {
		u.reply = Reply{Outcome: Refused, Why: err.Error()}
		if r == Move && !u.pause.Holds() {
			u.reply.Master = master(u.elected).String()
		}
	}
	w.note("%d obeys %v: %+v", i, r, u.reply)
	if before.Lasts() && before.By == others && r == End && !u.pause.Lasts() {
		w.fail("instance %d has ended the pause of another command", i)
	}
	if r == Begin && w.command != notYet && !before.Lasts() && u.pause.Lasts() {
		w.fail("instance %d is paused anew, and the command has run", i)
	}
	if r == Move && !before.Lasts() && u.pause.Lasts() {
		w.fail("instance %d is paused again by the move of an end, after the election", i)
	}
	w.after(i, before, "resumed")
}

func (w *world) activeAt(i int) (n int) {
	u := &w.instances[i]
	if u.live {
		n++
	}
	if u.oldLive && !w.rules.forgetOldGenerations {
		n++
	}
	return n
}

// namedAt is the master that a read named that began after the pause: what the
// instance knows of it is kept in readFrom of the last read that has ended.
func (w *world) namedAt(i int) string {
	u := &w.instances[i]
	if u.pause.Lasts() && !u.reading && u.readFrom > u.pause.Began {
		return master(u.read).String()
	}
	return ""
}

func (w *world) deliver(i int) {
	u := &w.instances[i]
	if u.answered = false; w.gone >= 0 {
		return
	}
	w.step(Event{Kind: Answered, Instance: i, Reply: u.reply})
}

func (w *world) lose(i int, what string) {
	u := &w.instances[i]
	w.note("%d: %s is lost", i, what)
	u.asked, u.answered = None, false
	if w.gone < 0 {
		w.step(Event{Kind: Answered, Instance: i, Reply: Reply{Outcome: Failed, Why: "lost"}})
	}
}

// endRead: the read names the master of when it began, as one of the whole
// cluster does.
func (w *world) endRead(i int) {
	u := &w.instances[i]
	u.reading = false
	before := u.pause
	if u.read > u.elected {
		u.elected = u.read
		u.live, u.oldLive = false, false // cut
		u.pause = u.pause.Elected(master(u.elected), w.clock())
		w.note("%d learns of master %d", i, u.elected)
		w.after(i, before, "another master")
		before = u.pause
	}
	u.pause = u.pause.Confirmed(u.readFrom)
	w.release(i, before)
}

// upgrade hands the pause over.
func (w *world) upgrade(i int) {
	u := &w.instances[i]
	w.note("%d is upgraded", i)
	u.oldLive, u.live = u.oldLive || u.live, false
	u.reading = false
	if u.pause.Ended != 0 || w.rules.dropPauseInUpgrade { // one that has ended is the old generation's, with its clients
		before := u.pause
		u.pause = pausing.State{}
		if before.Lasts() && u.held {
			u.held = false // they are the old generation's
		}
		u.live, u.held = w.rules.dropPauseInUpgrade && before.Lasts(), false
	}
}

// key tells worlds apart, by what counts for the future.
func (w *world) key() string {
	e := encoder{b: make([]byte, 0, 160)}
	e.numbers(int64(w.now), int64(w.elections), int64(w.command), int64(w.gone))
	e.numbers(int64(w.left.elections), int64(w.left.losses), int64(w.left.upgrades), int64(w.left.deaths), int64(w.left.signals),
		int64(w.left.kills), int64(w.left.others), int64(w.left.delays))
	if !w.everybodyKnows() {
		e.numbers(int64(w.switched))
	}
	m := &w.machine
	e.numbers(int64(m.Phase), int64(m.Status), int64(m.until))
	return string(e.b) + w.keyOf(0) + w.keyOf(1)
}

func (w *world) everybodyKnows() bool {
	for i := range w.instances {
		if u := &w.instances[i]; u.elected < w.elections {
			return false
		}
	}
	return w.left.elections == 0 && w.command == ended
}

func (w *world) keyOf(i int) string {
	e := encoder{b: make([]byte, 0, 80)}
	if w.gone < 0 {
		u := &w.machine.Instances[i]
		e.numbers(int64(u.Asked), int64(u.Active), int64(len(u.Master)), int64(u.Sent), int64(u.Moved), int64(u.Heard), int64(u.Took), int64(u.Next))
		e.flags(u.Begun, u.Paused, u.Over, u.Lapsed, u.Ended, u.Looked)
	}
	u := &w.instances[i]
	s := &u.pause
	e.numbers(int64(len(s.By)), int64(s.From.Port()), int64(s.Ended))
	if s.Lasts() {
		e.numbers(int64(s.Until))
		e.flags(w.namedAt(i) != "")
	}
	if u.reading {
		e.numbers(int64(u.readFrom), int64(u.read))
		e.flags(u.readFrom > s.Began)
	}
	e.numbers(int64(u.elected), int64(u.asked))
	e.flags(u.live, u.oldLive, u.held, u.reading, u.answered, u.died, u.ranOut)
	if u.answered {
		e.numbers(int64(u.reply.Outcome), int64(u.reply.Active), int64(len(u.reply.Master)))
		e.flags(u.reply.Paused)
	}
	return string(e.b)
}

type encoder struct{ b []byte }

func (e *encoder) numbers(all ...int64) {
	for _, n := range all {
		e.b = binary.AppendVarint(e.b, n)
	}
}

func (e *encoder) flags(all ...bool) {
	for _, f := range all {
		if f {
			e.b = append(e.b, 1)
		} else {
			e.b = append(e.b, 0)
		}
	}
}
