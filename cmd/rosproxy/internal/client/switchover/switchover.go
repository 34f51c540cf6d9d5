// Package switchover is the state machine of `rosproxy pause`: it pauses a label at
// all instances, runs a command when every one of them is paused, quiet, and
// names the same master, and resumes.
//
// Events go in, orders come out; it does no I/O and reads no clock, so that a test
// searches it exhaustively (search_test.go), together with the pauses of the
// instances (package pausing). Times count from the beginning.
//
// Its rules:
//  1. An instance that was told to pause, whatever it has answered, is told to
//     resume before the end, and again until it has answered.
//  2. The end of each pause moves on every third of its length, from the first
//     pause until it is resumed, and by a request that never begins another: an
//     election has ended the pause, and its clients are on their way.
//  3. The command starts only when the last answers of all instances say that
//     they are paused, have no live connection, and name the same master by a
//     read that began after the pause; and no pause can have run out since.
//  4. A signal goes to the command, and its end is awaited.
package switchover

import (
	"fmt"
	"slices"
	"time"
)

// Config of a Machine.
type Config struct {
	For     time.Duration // the length of a pause that is not moved on
	Wait    time.Duration // for all instances to be quiet
	Settle  time.Duration // for another master at all of them, after the command
	Command bool          // there is one; else it is done when all are quiet, and they stay paused

	Poll    time.Duration // between two questions
	Silence time.Duration // how long an instance may not answer before the command runs
	Give    time.Duration // for all to resume
}

// Phase is where in its life a Machine is.
type Phase uint8

// The phases.
const (
	Pausing  Phase = iota // until all are quiet
	Running               // the command
	Settling              // until all have another master
	Resuming
	Exited
)

// Instance is what is known of one instance.
type Instance struct {
	Asked  Request       // what it has not answered yet
	Sent   time.Duration // when it was asked that
	Begun  bool          // it was told to pause
	Paused bool          // it has said that it is
	Over   bool          // its pause was over before it was told to resume
	Ended  bool          // it has resumed
	Looked bool          // it was asked how it goes, so that the next two are known
	Active int           // live connections
	Master string        // named by a consistent read that began after the pause; empty: none
	Moved  time.Duration // when it was asked what moved the end of its pause last
	Heard  time.Duration // when it did last what it was asked
	Next   time.Duration // before that it is not asked again
	Why    string        // it did not
}

// Machine is the state. Step gives the next one; a Machine does not change.
type Machine struct {
	Phase     Phase
	Instances []Instance
	Status    int    // the exit status, once Exited
	Why       string // it gave up; empty: it did not
	Culprit   int    // the instance that Why is about; below 0: none

	c       Config
	until   time.Duration // the deadline of Settling and Resuming
	pending []Order
}

// Exit statuses of its own.
const (
	statusDone    = 0
	statusNotDone = 1
)

// New makes the Machine for so many instances. Its first Step is to be Ticked.
func New(c Config, instances int) Machine {
	return Machine{c: c, Instances: make([]Instance, instances), Culprit: -1}
}

// Step gives the state after e, and what is to be done, in its order.
func (m Machine) Step(e Event, now time.Duration) (Machine, []Order) {
	m.Instances, m.pending = slices.Clone(m.Instances), nil
	switch e.Kind {
	case Answered:
		m.take(e.Instance, e.Reply, now)
	case Signalled:
		m.signal(now)
	case CommandEnded:
		m.commandEnded(e.Status, now)
	}
	m.advance(now)
	for i := range m.Instances {
		if r := m.due(i, now); r != None {
			m.ask(i, r, now)
		}
	}
	if m.Phase == Exited {
		m.order(Order{Kind: Exit})
	}
	orders := m.pending
	m.pending = nil
	return m, orders
}

func (m *Machine) order(o Order) { m.pending = append(m.pending, o) }

func (m *Machine) ask(i int, r Request, now time.Duration) {
	u := &m.Instances[i]
	u.Asked, u.Sent = r, now
	u.Begun = u.Begun || r == Begin
	m.order(Order{Kind: Ask, Instance: i, Request: r})
}

// take takes what instance i has answered.
func (m *Machine) take(i int, r Reply, now time.Duration) {
	u := &m.Instances[i]
	asked := u.Asked
	u.Asked, u.Next = None, now+m.c.Poll
	switch r.Outcome {
	case Done:
		u.Heard, u.Why = now, ""
		if asked != Look {
			u.Next = now // a pause that must be moved on at each poll is looked at as well
		}
		m.done(u, asked, r)
	case Refused:
		m.refused(i, asked, r)
	case Failed:
		u.Why = r.Why
		if m.Phase == Pausing && now-u.Heard > m.c.Silence {
			m.giveUp(i, r.Why, now)
		}
	}
}

func (m *Machine) done(u *Instance, asked Request, r Reply) {
	switch asked {
	case Begin, Move:
		u.Paused, u.Moved = true, u.Sent
		u.Active = r.Active
	case Look:
		if !r.Paused {
			u.Paused, u.Over = false, true
			return
		}
		u.Looked, u.Active, u.Master = true, r.Active, r.Master
	case End:
		u.Ended = true
	}
}

func (m *Machine) refused(i int, asked Request, r Reply) {
	u := &m.Instances[i]
	switch asked {
	case Begin:
		u.Begun, u.Over = false, true // it is not paused by this command
		u.Why = r.Why
	case Move:
		u.Paused, u.Over = false, true
	case End:
		u.Ended = true // there is nothing of this command's
	case Look:
		u.Why = r.Why
	}
}

// giveUp ends it before the command has run.
func (m *Machine) giveUp(culprit int, why string, now time.Duration) {
	if m.Phase == Pausing {
		m.Why, m.Culprit, m.Status = why, culprit, statusNotDone
		m.resume(now)
	}
}

func (m *Machine) resume(now time.Duration) {
	m.Phase, m.until = Resuming, now+m.c.Give
	for i := range m.Instances {
		m.Instances[i].Next = now
	}
}

func (m *Machine) signal(now time.Duration) {
	switch m.Phase {
	case Pausing:
		m.giveUp(-1, "interrupted", now)
	case Running:
		m.order(Order{Kind: Forward})
	case Settling:
		m.resume(now)
	}
}

func (m *Machine) commandEnded(status int, now time.Duration) {
	if m.Phase != Running {
		return
	}
	m.Status = status
	if status != statusDone {
		m.resume(now)
		return
	}
	m.Phase, m.until = Settling, now+m.c.Settle
	for i := range m.Instances {
		m.Instances[i].Next = now
	}
}

// advance goes on to the next phase when it is time.
func (m *Machine) advance(now time.Duration) {
	if m.Phase == Pausing {
		m.advancePausing(now)
	}
	if m.Phase == Settling && (now >= m.until || !slices.ContainsFunc(m.Instances, func(u Instance) bool { return !u.Over })) {
		m.resume(now)
	}
	if m.Phase == Resuming && (now >= m.until || !slices.ContainsFunc(m.Instances, Instance.mayBePaused)) {
		m.Phase = Exited
	}
}

// mayBePaused reports whether u is to be told to resume.
func (u Instance) mayBePaused() bool { return u.Begun && !u.Ended }

func (m *Machine) advancePausing(now time.Duration) {
	waits := -1
	for i := range m.Instances {
		u := &m.Instances[i]
		if u.Over {
			why := u.Why
			if why == "" {
				why = "its pause is over already: another master was elected, or somebody has resumed it"
			}
			m.giveUp(i, why, now)
			return
		}
		if waits < 0 && (!m.isReady(u, now) || u.Master != m.Instances[0].Master) {
			waits = i
		}
	}
	switch {
	case waits < 0 && m.c.Command:
		m.Phase = Running
		m.order(Order{Kind: Start})
	case waits < 0:
		m.Phase = Exited
	case now >= m.c.Wait:
		m.giveUp(waits, m.missing(waits), now)
	}
}

// isReady reports whether u is paused and quiet, knows its master, and its pause
// cannot have run out.
func (m *Machine) isReady(u *Instance, now time.Duration) bool {
	return u.Paused && u.Looked && u.Active == 0 && u.Master != "" && now < u.Moved+m.c.For
}

// missing says what instance i lacks when the wait is over.
func (m *Machine) missing(i int) string {
	switch u := m.Instances[i]; {
	case u.Why != "":
		return u.Why
	case !u.Paused:
		return "it has not said that it is paused"
	case !u.Looked || u.Active > 0:
		return fmt.Sprintf("not quiet within %v: %d live", m.c.Wait, u.Active)
	case u.Master == "":
		return fmt.Sprintf("no consistent read has named its master within %v", m.c.Wait)
	case u.Master != m.Instances[0].Master:
		return fmt.Sprintf("its master is %s; %s elsewhere", u.Master, m.Instances[0].Master)
	}
	return "its pause may have run out"
}

// due is what instance i is to be asked now.
func (m *Machine) due(i int, now time.Duration) Request {
	u := &m.Instances[i]
	if u.Asked != None || now < u.Next {
		return None
	}
	switch m.Phase {
	case Pausing, Settling:
		switch {
		case u.Over:
			return None
		case !u.Paused:
			return Begin // Pausing: in Settling all have been
		case now >= u.Moved+m.c.For/3:
			return Move
		}
		return Look
	case Running:
		if !u.Over && now >= u.Moved+m.c.For/3 {
			return Move
		}
	case Resuming:
		if u.mayBePaused() {
			return End
		}
	}
	return None
}

// Wake is when the machine is to be Ticked at the latest, unless something else
// happens before.
func (m Machine) Wake(now time.Duration) time.Duration {
	wake := now + time.Hour
	if m.Phase == Pausing {
		wake = min(wake, m.c.Wait)
	} else if m.Phase == Settling || m.Phase == Resuming {
		wake = min(wake, m.until)
	}
	for _, u := range m.Instances {
		if u.Asked != None {
			continue
		}
		at := u.Next
		if m.Phase == Running {
			if u.Over {
				continue
			}
			at = max(at, u.Moved+m.c.For/3)
		}
		if at > now {
			wake = min(wake, at)
		}
	}
	return wake
}

// Left are the instances that were told to pause, and have not said that they have resumed.
func (m Machine) Left() (left []int) {
	for i, u := range m.Instances {
		if u.mayBePaused() {
			left = append(left, i)
		}
	}
	return left
}
