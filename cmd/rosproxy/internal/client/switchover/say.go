package switchover

import (
	"fmt"
	"time"
)

// What is said of clients that go to the old master: since a pause has ended while the
// command ran, or since the command has brought about no election.

// tellLapses says of which pauses the end was not moved on in time.
func (m *Machine) tellLapses(now time.Duration) {
	if m.Phase != Running {
		return
	}
	for i := range m.Instances {
		u := &m.Instances[i]
		if u.Over || u.Lapsed || now < u.Moved+m.c.For {
			continue
		}
		u.Lapsed = true
		why := ""
		if u.Why != "" {
			why = " (" + u.Why + ")"
		}
		m.say(i, fmt.Sprintf("its pause may have run out while the command runs, since it could not be prolonged for %v%s: its clients may be on the old master, %s",
			(now-u.Moved).Round(time.Second), why, u.Master))
	}
}

// tellHeld says of a pause that was thought to be over that it is not.
func (m *Machine) tellHeld(i int, now time.Duration) {
	if u := &m.Instances[i]; u.Lapsed && now < u.Moved+m.c.For {
		u.Lapsed = false
		m.say(i, "it answers again, and is still paused")
	}
}

// tellOver says of a pause that has turned out to be over where its clients go:
// to another master, unless it was not that one's election that has ended it.
func (m *Machine) tellOver(i int, master string) {
	u := &m.Instances[i]
	switch {
	case m.Phase != Running:
	case master != "" && master == u.Master:
		m.say(i, "its pause is over while the command runs: its clients are on the old master, "+master)
	case u.Lapsed && master != "":
		m.say(i, "it answers again: its pause is over, and its clients are on "+master)
	case u.Lapsed:
		m.say(i, "it answers again: its pause is over")
	}
}

// tellUnsettled says where the command has brought about no election, as far as an
// instance knows.
func (m *Machine) tellUnsettled() {
	for i, u := range m.Instances {
		if !u.Over && m.c.Settle > 0 {
			m.say(i, fmt.Sprintf("no other master within %v after the command: its clients are released on %s, unless a read names another", m.c.Settle, u.Master))
		}
	}
}

func (m *Machine) say(i int, text string) {
	m.order(Order{Kind: Say, Instance: i, Text: text})
}
