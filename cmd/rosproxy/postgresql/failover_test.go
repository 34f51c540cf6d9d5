package postgresql_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWritersOfPostgreSQLUnderPatroni: one cluster, whose leader is taken away
// again and again. The scenarios build upon each other, since a leader that is
// dead keeps its key for 18 seconds.
func TestWritersOfPostgreSQLUnderPatroni(t *testing.T) {
	c := startCluster(t)
	for _, s := range []struct {
		name string
		test func(*testing.T, *cluster)
	}{
		{"PatroniKilledAndPostgreSQLLeftRunning", killed},
		{"PatroniKilledWithSynchronousReplication", killedSynchronous},
		{"NodeFrozen", frozen},
		{"Switchover", switchover},
		{"PatroniPaused", paused},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.test(t, c) }) {
			t.FailNow() // the next one would begin with whatever is left
		}
	}
	c.wantQuick(t)
}

// What a change of the leader may take: each, on a machine that is busy with
// other tests, and the quickest of them. On one that is not busy connections
// are cut some 15 ms after the loss of the key, as the writers see it, and the
// first row comes some 50 ms after the promotion.
const (
	lateness  = 10 * time.Second
	quickness = 500 * time.Millisecond
)

// wantQuick checks that at least one change was quick, whatever else ran.
func (c *cluster) wantQuick(t *testing.T) {
	t.Helper()
	if cut := slices.Min(c.cuts); cut > quickness {
		t.Errorf("connections were cut %v after the loss of the key, at best; want %v", cut, quickness)
	}
	if served := slices.Min(c.serves); served > quickness {
		t.Errorf("the first row came %v after the promotion, at best; want %v", served, quickness)
	}
}

// wantCut checks that the connections to an old primary that was still there
// were cut when it had lost the key.
func (s *scenario) wantCut(o outcome) {
	s.t.Helper()
	s.cuts = append(s.cuts, o.cut)
	if o.cut > lateness {
		s.t.Errorf("connections were cut %v after the loss of the key; want at most %v", o.cut, lateness)
	}
}

// wantServed checks how the writers came to the new primary.
func (s *scenario) wantServed(o outcome) {
	s.t.Helper()
	s.serves = append(s.serves, o.servedIn)
	if o.servedIn > lateness {
		s.t.Errorf("the first row came %v after the promotion; want at most %v", o.servedIn, lateness)
	}
	for _, f := range o.readOnly {
		s.t.Errorf("writer %d at %v after the beginning: %v; want no connection to a standby", f.Writer, f.At.Sub(s.began), f.Err)
	}
	s.wantLostBeforeThereWasAnother()
}

// wantNothingLost checks that every row that was ever acknowledged is there.
func (s *scenario) wantNothingLost(o outcome) {
	s.t.Helper()
	if len(o.lost) > 0 {
		s.t.Errorf("acknowledged rows lost: got %d; want none", len(o.lost))
	}
}

// wantLostBeforeThereWasAnother checks by the log that rosproxy let go because
// the lock was lost, not because somebody else was master. One that had no time
// to see that nobody held the key lets go when it sees the next holder.
func (s *scenario) wantLostBeforeThereWasAnother() {
	s.t.Helper()
	var lost, next time.Time
	eventually(s.t, "rosproxy's log to tell of a loss and of "+s.new.Name, func() bool {
		lost, next = s.changesLogged()
		return !lost.IsZero() && !next.IsZero()
	})
	if next.Before(lost) {
		s.t.Errorf("log: master lost at %v, %s master at %v; want the one before the other", lost, s.new.Name, next)
	}
}

// changesLogged is when rosproxy let the old master go, and when it had the new one, by its log.
func (s *scenario) changesLogged() (lost, next time.Time) {
	s.t.Helper()
	for _, l := range s.byKey.logged("") {
		if l.Time.Before(s.began.Truncate(time.Millisecond)) {
			continue
		}
		if lost.IsZero() && (l.Message == "master lost" || l.Message == "failover") {
			lost = l.Time
		}
		if next.IsZero() && (l.Message == "master back" && l.Master == s.new.Address || l.Message == "failover" && l.To == s.new.Address) {
			next = l.Time
		}
		if l.Connections == "kept" {
			s.t.Errorf("log: %+v; want connections cut", l)
		}
	}
	return lost, next
}

// killed: the primary goes on to take writes when it is no leader any more, as
// long as anybody is connected to it. Replication is asynchronous, so PostgreSQL
// may lose what was acknowledged in the last milliseconds before the cut, which
// the standby had not received when it was promoted: that is told, not wanted.
func killed(t *testing.T, c *cluster) {
	s := c.begin(t)
	s.must(s.old.KillPatroni())
	m := s.change()
	s.tell(m)
	o := s.end(c.byKey, m, s.new)
	s.wantCut(o)
	s.wantServed(o)
	s.end(c.byTag, m, s.new) // to compare
	s.must(s.old.Start())
	s.must(c.AwaitHealthy(s.ctx))
}

// killedSynchronous is the failover back, and nothing at all is lost.
func killedSynchronous(t *testing.T, c *cluster) {
	s := c.begin(t)
	s.must(c.SetSynchronous(s.ctx, true))
	s.began = time.Now()
	s.must(s.old.KillPatroni())
	m := s.change()
	s.tell(m)
	o := s.end(c.byKey, m, s.new)
	s.wantCut(o)
	s.wantServed(o)
	s.wantNothingLost(o)
	s.end(c.byTag, m, s.new) // to compare
	s.must(s.old.Start())
	s.must(c.AwaitHealthy(s.ctx))
	s.must(c.SetSynchronous(s.ctx, false))
}

// frozen: connections to the primary stay open, and nobody answers; when it
// wakes it is a primary still, for a moment.
func frozen(t *testing.T, c *cluster) {
	s := c.begin(t)
	s.must(s.old.Freeze())
	m := s.change()
	s.tell(m)
	thawed := time.Now()
	s.must(s.old.Thaw())
	s.must(c.AwaitHealthy(s.ctx))
	o := s.end(c.byKey, m, s.new)
	s.wantCut(o)
	s.wantServed(o)
	for _, r := range s.writers[c.byKey].Acked(thawed) {
		if r.By == s.old.Port() {
			t.Errorf("row %+v: acknowledged by the old primary after its return", r)
		}
	}
	s.end(c.byTag, m, s.new) // to compare
}

// switchover: Patroni stops the old primary in order before it gives up the
// key, so nothing is lost.
func switchover(t *testing.T, c *cluster) {
	s := c.begin(t)
	s.must(c.Switchover(s.ctx, s.old, s.new))
	m := s.change()
	s.tell(m)
	o := s.end(c.byKey, m, s.new)
	s.wantServed(o)
	s.wantNothingLost(o)
	s.end(c.byTag, m, s.new) // to compare
	s.must(c.AwaitHealthy(s.ctx))
}

// paused: Patroni leaves all as it is. As long as it runs on the leader it keeps
// the key, and nobody notices. Without it the key goes as ever, nobody takes
// it, and so nobody is master until Patroni is back, though PostgreSQL runs.
func paused(t *testing.T, c *cluster) {
	s := c.begin(t)
	s.must(c.Pause(s.ctx))
	time.Sleep(calm)
	if broken := s.writers[c.byKey].Failures(s.began); len(broken) > 0 {
		t.Errorf("connections broken by a pause: got %d (%v); want none", len(broken), broken[0].Err)
	}
	s.began = time.Now()
	s.must(s.old.KillPatroni())
	m := moments{lost: s.happened("the key to be lost", func() time.Time { return s.watch.Lost(s.old, s.began) })}
	eventually(t, "all writers to be held", func() bool {
		l := c.byKey.label()
		return l.Master == nil && l.Held == writers && l.Active == l.Held
	})
	if code, body := c.byKey.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no master: pg") {
		t.Errorf("readiness: got %d, %s; want 503 and no master", code, body)
	}
	back := time.Now()
	s.must(s.old.Start())
	m.held = s.happened(s.old.Name+" to take the key again", func() time.Time { return s.watch.Held(s.old, back) })
	eventually(t, "rows again", func() bool { return len(s.writers[c.byKey].Acked(m.held)) > 0 })
	t.Logf("the key was lost %v after the beginning", round(m.lost.Sub(s.began)))
	if at := s.watch.Promoted(s.new, s.began); !at.IsZero() {
		t.Errorf("%s was promoted; want it left alone", s.new.Name)
	}
	s.must(c.Resume(s.ctx))
	s.must(c.AwaitHealthy(s.ctx))
	o := s.end(c.byKey, m, s.old)
	if len(o.lost) > 0 || len(o.readOnly) > 0 {
		t.Errorf("got %d rows lost, %d read-only; want none", len(o.lost), len(o.readOnly))
	}
}
