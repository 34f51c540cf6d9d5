package switchover

import (
	"fmt"
	"slices"
	"time"
)

// When the machine goes on to its next phase.

// advance goes on to the next phase when it is time.
func (m *Machine) advance(now time.Duration) {
	if m.Phase == Pausing {
		m.advancePausing(now)
	}
	if m.Phase == Settling && (now >= m.until || !slices.ContainsFunc(m.Instances, func(u Instance) bool { return !u.Over })) {
		m.tellUnsettled()
		m.resume(now)
	}
	if m.Phase == Resuming && (now >= m.until || !slices.ContainsFunc(m.Instances, Instance.mayBePaused)) {
		m.Phase = Exited
	}
}

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
// cannot have run out, or run out before it is told to move the end on.
func (m *Machine) isReady(u *Instance, now time.Duration) bool {
	return u.Paused && u.Active == 0 && u.Master != "" && now+u.Took < u.Moved+m.c.For
}

// missing says what instance i lacks when the wait is over.
func (m *Machine) missing(i int) string {
	switch u := m.Instances[i]; {
	case u.Why != "":
		return u.Why
	case !u.Paused:
		return "it has not said that it is paused"
	case u.Active > 0:
		return fmt.Sprintf("not quiet within %v: %d live", m.c.Wait, u.Active)
	case !u.Looked:
		return m.tooSlow(u)
	case u.Master == "":
		return fmt.Sprintf("no consistent read has named its master within %v", m.c.Wait)
	case u.Master != m.Instances[0].Master:
		return fmt.Sprintf("its master is %s; %s elsewhere", u.Master, m.Instances[0].Master)
	}
	return m.tooSlow(m.Instances[i])
}

func (m *Machine) tooSlow(u Instance) string {
	return fmt.Sprintf("its answers take too long, %v, to keep it paused: pause for longer than %v", u.Took.Round(time.Millisecond), m.c.For)
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
