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
//     read that began after the pause; and no pause can have run out since, nor can it
//     before its end has moved on again.
//  4. Where a pause runs out while the command runs all the same, since its instance
//     could not be reached, that is said.
//  5. A signal goes to the command, and its end is awaited.
package switchover

import (
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
	Took   time.Duration // how long its last answer took
	Begun  bool          // it was told to pause
	Paused bool          // it has said that it is
	Over   bool          // its pause was over before it was told to resume
	Lapsed bool          // it was said that its pause may have run out while the command runs
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
	m.tellLapses(now)
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
