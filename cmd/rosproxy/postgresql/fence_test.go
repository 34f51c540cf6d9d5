package postgresql_test

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// failoversEnv is how many failovers TestNothingIsAcknowledgedByADeposedPrimary
// makes, under each of the faults in turn; unset: one under each that is brief.
const failoversEnv = "ROSPROXY_TEST_FAILOVERS"

// TestNothingIsAcknowledgedByADeposedPrimary: the primary loses its Patroni and goes
// on taking writes, the worst that Patroni allows, and whatever else happens at
// that moment, nobody is told of a row by it through rosproxy from when await-fence
// has let the promotion of another go on.
func TestNothingIsAcknowledgedByADeposedPrimary(t *testing.T) {
	f := startFenced(t)
	sums := map[string]*sum{}
	for n, fault := range chosen(t) {
		if !t.Run(strconv.Itoa(n+1)+" "+fault.name, func(t *testing.T) { f.failover(t, fault).add(sums) }) {
			t.FailNow() // the next one would begin with whatever is left
		}
	}
	tellSums(t, sums)
	wantQuickPromotion(t, sums)
}

// chosen are the faults that the failovers meet, in their order.
func chosen(t *testing.T) (some []fault) {
	t.Helper()
	text := os.Getenv(failoversEnv)
	if text == "" {
		for _, f := range faults {
			if f.brief {
				some = append(some, f)
			}
		}
		return some
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("%s=%s: want how many failovers", failoversEnv, text)
	}
	for n := range count {
		some = append(some, faults[n%len(faults)])
	}
	return some
}

// failover takes the leader away under a fault, and checks what became of the rows.
func (f *fenced) failover(t *testing.T, fault fault) result {
	s := f.begin(t)
	if fault.before != nil {
		fault.before(s)
	}
	s.must(s.old.KillPatroni())
	if !fault.expires {
		s.must(s.Expire(s.ctx))
	}
	if fault.at != nil {
		fault.at(s)
	}
	p := s.awaitPromotion()
	if fault.after != nil {
		fault.after(s)
	}
	s.served(p)
	r := s.judge(p)
	r.fault = fault
	t.Logf("await-fence took %v; rows of the old primary: %d through rosproxy, of these %d after await-fence; %d beside rosproxy after it",
		round(r.took), r.late, len(r.broken), r.beside)
	for _, row := range r.broken {
		t.Errorf("row %d of writer %d: acknowledged by %s %v after await-fence had returned", row.Number, row.Writer, s.old.Name, row.Acked.Sub(p.end))
	}
	if r.beside == 0 {
		t.Errorf("rows that %s acknowledged beside rosproxy after await-fence: got none; want some, else the test shows nothing", s.old.Name)
	}
	if most := mostFor(fault); r.took > most {
		t.Errorf("await-fence took %v; want %v at most", r.took, most)
	}
	s.stop()
	if fault.mend != nil {
		fault.mend(s)
	}
	s.must(s.old.Start())
	s.must(s.AwaitHealthy(s.ctx))
	return r
}

// mostFor is what await-fence may take, on a machine that is busy with other tests.
func mostFor(fault fault) time.Duration {
	if fault.dead {
		return fenceTTL + fenceTTL/50 + lateness
	}
	return fenceTTL // it was not waited for a report to die
}

// wantQuickPromotion checks that at least one promotion was quick, whatever else ran.
func wantQuickPromotion(t *testing.T, sums map[string]*sum) {
	t.Helper()
	for _, s := range sums {
		if !s.fault.dead && s.least <= quickness {
			return
		}
	}
	t.Errorf("await-fence never took %v or less, though all were well", quickness)
}
