package switchover

import "time"

// What each instance is asked and when, and what follows from its answers.

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
		if at, ok := m.next(u); ok {
			wake = min(wake, at) // also when that has come since the last Step
		}
		if m.Phase == Running && !u.Over && !u.Lapsed {
			wake = min(wake, u.Moved+m.c.For)
		}
	}
	return wake
}

// next is when u is to be asked something, unless it is under way, or there is nothing
// to be asked: as due has it.
func (m Machine) next(u Instance) (at time.Duration, ok bool) {
	if u.Asked != None {
		return 0, false
	}
	switch m.Phase {
	case Pausing, Settling:
		return u.Next, !u.Over
	case Running:
		return max(u.Next, u.Moved+m.c.For/3), !u.Over
	case Resuming:
		return u.Next, u.mayBePaused()
	}
	return 0, false
}

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
		u.Heard, u.Took, u.Why = now, now-u.Sent, ""
		m.done(u, asked, r)
		m.tellHeld(i, now)
		if asked != Look {
			u.Next = now // a pause that must be moved on at each poll is looked at as well
		} else {
			u.Next = min(u.Next, max(now, u.Moved+m.c.For/3))
		}
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
		m.tellOver(i, r.Master)
	case End:
		u.Ended = true // there is nothing of this command's
	case Look:
		u.Why = r.Why
	}
}

// mayBePaused reports whether u is to be told to resume.
func (u Instance) mayBePaused() bool { return u.Begun && !u.Ended }

// Left are the instances that were told to pause, and have not said that they have resumed.
func (m Machine) Left() (left []int) {
	for i, u := range m.Instances {
		if u.mayBePaused() {
			left = append(left, i)
		}
	}
	return left
}
