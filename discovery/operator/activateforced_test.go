package operator

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// TestActivationWithoutADataCentre that is down: without --force nothing is written,
// and with it the leases that it may have given are waited for.
func TestActivationWithoutADataCentre(t *testing.T) {
	t.Parallel()
	s := newStage(t, realconsul.StartPair(t))
	s.must(s.activation(dc1))
	s.pair.DC1.Kill()
	_, err := Activate(s.Context(), s.activation(dc2))
	if r, ok := errors.AsType[*datacenter.Refused](err); !ok || r.Unread[dc1] == "" {
		t.Fatalf("got %v; want it refused, since dc1 cannot be read", err)
	}
	s.wantIn(dc2, dc1, 3)
	_, err = Activate(s.Context(), s.forced(dc1))
	s.wantError(err, "dc1", "cannot be read")

	began, forced := time.Now(), s.forced(dc2)
	forced.TTL = 8 * time.Second // longer than a data centre that is down is asked
	out := s.must(forced)
	if took := time.Since(began); took < forced.TTL {
		t.Errorf("took %v; want the leases to be over that dc1 may have given", took)
	}
	if len(out.Unverified) != 1 || !strings.Contains(out.Unverified[0], "dc1") {
		t.Errorf("got %q; want dc1 named", out.Unverified)
	}
	s.wantIn(dc2, dc2, 6, dc1)
	if out := s.must(s.forced(dc2)); out.Changed {
		t.Error("the same again has changed something")
	}
	if out := s.must(s.activation(dc2)); out.Changed {
		t.Error("the same again without --force has changed something")
	}

	s.pair.DC1.Start()
	s.pair.AwaitJoined()
	s.wantIn(dc1, dc1, 3)
	s.told = nil
	if out := s.must(s.activation(dc2)); len(out.Unverified) > 0 {
		t.Errorf("got %q as not verified; want nothing where nothing is forced", out.Unverified)
	}
	s.want(dc2, 7)
	if strings.Contains(strings.Join(s.told, "\n"), "nobody") {
		t.Errorf("got %q; want nobody cut to have dc1 with it again", s.told)
	}
	s.must(s.activation(dc1))
	s.want(dc1, 10)

	// It has the passive one left out, so that instances can start, and cuts nobody.
	s.pair.DC2.Kill()
	s.told = nil
	s.must(s.forced(dc1))
	s.wantIn(dc1, dc1, 13, dc2)
	if strings.Contains(strings.Join(s.told, "\n"), "nobody") {
		t.Errorf("got %q; want nobody cut", s.told)
	}
}

// brief is for activations that are to wait for nothing for long. Half of it is for
// reading the data centres that are well, on a machine that is busy.
const brief = 3 * time.Second

// forcedPast is a forced one that waits for reports for a moment only.
func (s *stage) forcedPast(target string) Activation {
	a := s.forced(target)
	a.Timeout = brief
	return a
}

func (s *stage) forced(target string) Activation {
	a := s.activation(target)
	a.Force = true
	return a
}

// TestForcedActivationEndsWhenTheDataCentreIsBack: it was not down, or stays so no longer.
func TestForcedActivationEndsWhenTheDataCentreIsBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, realconsul.StartPair(t))
	s.must(s.activation(dc1))
	s.pair.DC1.Freeze()
	a := s.forced(dc2)
	a.TTL = 10 * time.Second
	a.Tell = func(what string) {
		if strings.HasPrefix(what, "waiting for") {
			s.pair.DC1.Thaw()
		}
	}
	_, err := Activate(s.Context(), a)
	s.wantError(err, "dc1 can be read again")
	s.wantIn(dc1, dc1, 3)
	s.wantIn(dc2, "", 5, dc1)
	s.must(s.activation(dc2))
	s.want(dc2, 8)

	s.pair.DC1.Freeze()
	a = s.forced(dc2)
	a.Target, a.Timeout = dc2, brief
	if out := s.must(a); len(out.Unverified) != 1 || !out.Changed { // the same stays active: nothing is waited for
		t.Errorf("got %+v", out)
	}
	s.wantIn(dc2, dc2, 11, dc1)
}

// TestActivationTakesNoLongerThanItsTimeout: whatever a data centre does not answer.
func TestActivationTakesNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	s := newStage(t, realconsul.StartPair(t))
	s.must(s.activation(dc1))
	stop := s.keepReporting(dc2, "p1", 3)
	defer stop()
	s.pair.DC1.Freeze()
	within := func(what string, a Activation, most time.Duration) (Activated, error) {
		s.Helper()
		a.Timeout = brief
		began := time.Now()
		out, err := Activate(s.Context(), a)
		if took := time.Since(began); took > most {
			s.Errorf("%s: took %v; want it bounded by %v", what, took, a.Timeout)
		}
		return out, err
	}
	const asksAnyway = activateAsk - 500*time.Millisecond // what does not answer, without a time-out
	if out, err := within("without --force", s.activation(dc2), asksAnyway); err == nil || out.Changed || out.Nobody {
		s.Errorf("got %+v, %v; want it refused", out, err)
	}
	s.wantIn(dc2, dc1, 3)
	long := fence.Entry{Instance: "p2", PID: 7, TTL: 50, Labels: map[string]fence.State{"default": {Term: 3}}}
	s.put(dc2, s.reports+"/p2", string(long.Encode()))
	const leases = 50 * time.Second // which it would wait for without a time-out
	out, err := within("with --force", s.forced(dc2), leases)
	if err != nil || len(out.Unverified) != 4 || !strings.Contains(strings.Join(out.Unverified, "\n"), "of 51s") {
		s.Errorf("got %v, %q; want dc1, its leases of 51 s and both reports named as not verified", err, out.Unverified)
	}
	s.wantIn(dc2, dc2, 6, dc1)
}

// TestActivationSaysWhetherAnybodyReports: a wrong prefix would look as if all had obeyed.
func TestActivationSaysWhetherAnybodyReports(t *testing.T) {
	t.Parallel()
	s := newStage(t, realconsul.StartPair(t))
	const nobody = "there was none to wait for"
	s.must(s.activation(dc1))
	if all := strings.Join(s.told, "\n"); strings.Contains(all, nobody) {
		s.Errorf("got %s; want no word of it where there was no entry to be reported", all)
	}
	s.must(s.activation(dc2))
	if all := strings.Join(s.told, "\n"); !strings.Contains(all, "no instance reports below "+s.reports) || !strings.Contains(all, nobody) {
		s.Errorf("got %s; want that nobody reports", all)
	}
	for _, c := range []struct {
		term   uint64
		target string
	}{{8, dc1}, {3, dc2}} { // obeyed; dead, and taken away
		s.told = nil
		s.report(dc2, "p1", c.term)
		s.must(s.activation(c.target))
		if all := strings.Join(s.told, "\n"); strings.Contains(all, nobody) || !strings.Contains(all, "all reports in") {
			s.Errorf("got %s; want that reports were waited for", all)
		}
	}
}

// TestTimesOfAnActivation: half of a time-out is for what does not answer, and by force
// some of it is left for the last entries.
func TestTimesOfAnActivation(t *testing.T) {
	for _, c := range []struct {
		timeout                time.Duration
		force                  bool
		survey, waits, reserve time.Duration
	}{
		{0, false, activateAsk, 0, 0},
		{4 * time.Second, false, 2 * time.Second, 4 * time.Second, time.Second},
		{4 * time.Second, true, 2 * time.Second, 3 * time.Second, time.Second},
		{time.Minute, false, activateAsk, time.Minute, 4 * time.Second},
		{time.Minute, true, activateAsk, 56 * time.Second, 4 * time.Second},
	} {
		w := activation{Activation: Activation{Timeout: c.timeout, Force: c.force}}
		if got := w.surveyFor(); got != c.survey {
			t.Errorf("%v: got %v for what does not answer; want %v", c.timeout, got, c.survey)
		}
		if got := w.waitsUntil(); got != c.waits {
			t.Errorf("%v, force %t: got the end of the wait at %v; want %v", c.timeout, c.force, got, c.waits)
		}
		if got := w.reserve(); c.timeout > 0 && got != c.reserve {
			t.Errorf("%v: got %v left; want %v", c.timeout, got, c.reserve)
		}
	}
	late := activation{Activation: Activation{Timeout: time.Millisecond}, began: clock.SinceBoot() - time.Minute}
	if got := late.patience(); got != activateFinish {
		t.Errorf("time is up: got %v to finish in; want %v", got, activateFinish)
	}
	if got := (&activation{}).patience(); got != activateAsk {
		t.Errorf("no time-out: got %v; want %v", got, activateAsk)
	}
}

// TestActivationThatMayNotReadIsNoFailureOfADataCentre: --force does not help.
func TestActivationThatMayNotReadIsNoFailureOfADataCentre(t *testing.T) {
	t.Parallel()
	s := newStage(t, realconsul.StartPair(t, realconsul.ACL()))
	for _, a := range []Activation{s.activation(dc1), s.forced(dc1)} {
		_, err := Activate(s.Context(), a)
		s.wantError(err, "data centre dc1: ", "data centre dc2: ", "denied", "key:read")
		if _, ok := errors.AsType[*datacenter.Refused](err); ok {
			t.Errorf("got %v; want no data centre that cannot be reached", err)
		}
	}
}
