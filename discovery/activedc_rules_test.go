package discovery

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

// The double answers for both data centres with the same catalog and the same keys,
// and can be made to fail for one of them.

func mirrored(t *testing.T, further ...string) *consultest.Server {
	t.Helper()
	s, err := consultest.Listen(consultest.Config{Mirrors: append([]string{"dc2"}, further...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	workers(s)
	return s
}

// twoPlaces is the configuration of an instance in dc1 whose master may be in dc2 as well.
func twoPlaces(s *consultest.Server) Config {
	c := quick(s.Addr)
	c.Datacenters = []string{"dc1", "dc2"}
	c.Reports = &Reports{Prefix: reportsAt, Instance: "p1", TTL: fence.MinTTL}
	return c
}

func setEntry(s *consultest.Server, e datacenter.Entry) {
	s.SetKey(DefaultDatacenterKey, string(e.Encode()))
}

// entryOf reports whether a request is about the entry in a data centre.
func entryOf(dc string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.URL.Path == "/v1/kv/"+DefaultDatacenterKey && r.URL.Query().Get("dc") == dc
	}
}

func isWrite(r *http.Request) bool { return r.Method == http.MethodPut }

// stays checks for a moment that r has been told no more than calls.
func (r *running) stays(calls ...string) {
	r.t.Helper()
	time.Sleep(time.Second)
	if got := r.list(); !slices.Equal(got, calls) {
		r.t.Errorf("got calls %q; want %q and nothing more", got, calls)
	}
}

// TestEntryIsReadAnewWhereTheReportStands: whoever activates next may look at no
// other data centre, and finds no report there before it stands.
func TestEntryIsReadAnewWhereTheReportStands(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
	r := start(t, twoPlaces(s))
	r.calls(set1)
	undo := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").When(entryOf("dc2")))
	await(t, "dc2 to be seen down", func() bool { return !r.Datacenters().All[1].Up })
	setEntry(s, datacenter.Entry{Active: "dc2", Term: 6})
	r.calls(set1, "default cut")
	r.stays(set1, "default cut")
	undo()
	r.calls(set1, "default cut", set1)
}

// TestOutsiderReadsAllEntriesAnewAfterEachMove: nobody who activates looks at the report in
// its own data centre, and that in the next one has just begun to stand.
func TestOutsiderReadsAllEntriesAnewAfterEachMove(t *testing.T) {
	t.Parallel()
	s := mirrored(t, "dc3")
	c := twoPlaces(s)
	c.Datacenters = []string{"dc2", "dc3"} // and it is in dc1
	setEntry(s, datacenter.Entry{Active: "dc2", Term: 3})
	r := start(t, c)
	r.calls(set1)
	undo := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").When(entryOf("dc2")))
	await(t, "dc2 to be seen down", func() bool { return !r.Datacenters().All[0].Up })
	setEntry(s, datacenter.Entry{Active: "dc3", Term: 6})
	r.calls(set1, "default cut")
	r.stays(set1, "default cut")
	undo()
	r.calls(set1, "default cut", set1)
}

// ofDefault are what the reports say of the label default.
func ofDefault(t *testing.T, s *consultest.Server) (all []fence.State) {
	t.Helper()
	for _, e := range entries(t, s.Client()) {
		if state, ok := e.Labels["default"]; ok {
			all = append(all, state)
		}
	}
	return all
}

// TestMasterIsReadWhereTheReportStands: the entries alone, read since, do not say who it is.
func TestMasterIsReadWhereTheReportStands(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
	allow := s.DenyKeys(reportsAt)
	r := start(t, twoPlaces(s))
	await(t, "the master to be read", func() bool {
		return slices.ContainsFunc(s.RequestsTo("/v1/health/"), func(q consultest.Request) bool { return q.Query.Has("consistent") && q.Took > 0 })
	})
	undo := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").On("/v1/health/"))
	await(t, "the next read to fail", func() bool { return r.agent(0).Errors > 0 })
	allow()
	await(t, "the report", func() bool { return len(ofDefault(t, s)) == 1 })
	r.stays()
	undo()
	r.calls(set1)
}

// TestReportOfWhoServedElsewhereSaysSoUntilTheMasterIsRead: an election in its data
// centre would else be waited for that nobody can have obeyed yet.
func TestReportOfWhoServedElsewhereSaysSoUntilTheMasterIsRead(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc2", Term: 3})
	r := start(t, twoPlaces(s))
	r.calls(set1)
	undo := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").On("/v1/health/").When(func(r *http.Request) bool { return r.URL.Query().Get("dc") == "dc1" }))
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 6})
	r.calls(set1, "default cut")
	await(t, "the next term in the report of its own data centre alone", func() bool {
		all := ofDefault(t, s)
		return len(all) == 1 && all[0].Term == 6
	})
	r.stays(set1, "default cut")
	if all := ofDefault(t, s); len(all) != 1 || !all[0].Elsewhere {
		t.Errorf("got %+v; want that it serves elsewhere still", all)
	}
	undo()
	r.calls(set1, "default cut", set1)
	await(t, "the report that it serves there", func() bool { all := ofDefault(t, s); return len(all) == 1 && !all[0].Elsewhere })
}

// TestTermIsReportedAfterTheCut: whoever activates goes on when it is.
func TestTermIsReportedAfterTheCut(t *testing.T) {
	for name, next := range map[string]datacenter.Entry{
		"to nobody":           {Term: 5},
		"to another, at once": {Active: "dc2", Term: 6}, // who is busy may miss that nobody was active in between
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mirrored(t)
			setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
			cutting, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			r := start(t, twoPlaces(s), func(_ *Consul, r *recorder) {
				r.hold = func(string) {
					if calls := r.list(); calls[len(calls)-1] == "default cut" {
						once.Do(func() { close(cutting) })
						<-release
					}
				}
			})
			r.calls(set1)
			term := func() uint64 { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Term }
			await(t, "the term reported", func() bool { return term() == 3 })
			setEntry(s, next)
			await(t, "the cut", func() bool {
				select {
				case <-cutting:
					return true
				default:
					return false
				}
			})
			_, before := onlyReport(t, s.Client())
			await(t, "the report to be written again", func() bool { _, e := onlyReport(t, s.Client()); return e.Beat > before.Beat })
			if got := term(); got != 3 {
				t.Errorf("got term %d reported while connections are cut; want 3 still", got)
			}
			close(release)
			await(t, "the next term reported", func() bool {
				for _, e := range entries(t, s.Client()) {
					if e.Labels["default"].Term != next.Term {
						return false
					}
				}
				return true
			})
		})
	}
}

// TestLapsedInstanceReadsAllEntriesAnew: it may have slept through an activation that
// took it for dead, and that only one data centre knows of.
func TestLapsedInstanceReadsAllEntriesAnew(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
	r := start(t, twoPlaces(s))
	r.calls(set1)
	undoWrites := s.Inject(consultest.Status(http.StatusInternalServerError, "no leader").On("/v1/kv/" + reportsAt).When(isWrite))
	undoReads := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").When(entryOf("dc2")))
	r.calls(set1, "default cut")
	undoWrites()
	await(t, "the reason", func() bool { return strings.Contains(r.why(), "data centre dc2 is not known") })
	r.stays(set1, "default cut")
	undoReads()
	r.calls(set1, "default cut", set1)
}

// TestEntryThatCannotBeUnderstoodTakesNothingFromWhoServes: it says nothing newer. But
// whoever remembers nothing must know what it said before.
func TestEntryThatCannotBeUnderstoodTakesNothingFromWhoServes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		active  string
		reports int
		change  func(*Config)
	}{
		"the own data centre":        {"dc1", 1, func(*Config) {}},
		"another data centre":        {"dc2", 2, func(*Config) {}},
		"no data centre, as a spare": {"dc2", 1, func(c *Config) { c.RemoteMaster = HoldRemote }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mirrored(t)
			setEntry(s, datacenter.Entry{Active: c.active, Term: 3})
			config := twoPlaces(s)
			c.change(&config)
			r := start(t, config)
			served := []string{set1}
			if config.RemoteMaster == HoldRemote {
				served = []string{"default cut"}
			}
			r.calls(served...)
			reported := func() (n int) {
				for _, e := range entries(t, s.Client()) {
					n += len(e.Labels)
				}
				return n
			}
			await(t, "its reports, with a lease", func() bool { return reported() == c.reports && r.Labels()[0].Report.Lease > 0 })
			s.SetKey(DefaultDatacenterKey, "garbage")
			await(t, "garbage to be seen", func() bool { return !r.Datacenters().All[0].Up && !r.Datacenters().All[1].Up })
			time.Sleep(fence.MinTTL) // longer than the lease
			if got, n := r.list(), reported(); !slices.Equal(got, served) || n != c.reports {
				t.Errorf("got calls %q, and it is in %d reports; want %q still, and %d", got, n, served, c.reports)
			}
			config.Reports = &Reports{Prefix: reportsAt, Instance: "p2", TTL: fence.MinTTL}
			late := start(t, config)
			await(t, "another one to say why not", func() bool { return strings.Contains(late.why(), "is not known: not the JSON") })
			late.stays()
		})
	}
}

// TestForcedDataCentreNeedNotBeRead: the newest entry says that it is down.
func TestForcedDataCentreNeedNotBeRead(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 6, Without: []string{"dc2"}})
	defer s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").When(entryOf("dc2")))()
	r := start(t, twoPlaces(s))
	r.calls(set1)
	if !r.Agents()[0].OK {
		t.Errorf("got the agent in trouble, %q; want that to be dc2's", r.Agents()[0].Error)
	}
}

// TestOwnDataCentreThatIsNotKnown holds clients, and says what the token lacks.
func TestOwnDataCentreThatIsNotKnown(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
	undo := s.Inject(consultest.Status(http.StatusForbidden, "Permission denied").When(func(r *http.Request) bool { return r.URL.Path == "/v1/agent/self" }))
	r := start(t, twoPlaces(s))
	await(t, "what the token lacks", func() bool { return strings.Contains(r.why(), "give a token with agent:read") })
	source, err := NewConsul(twoPlaces(s), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if c := source.Check(t.Context())[0]; c.OwnErr == nil || c.Own != "" {
		t.Errorf("check: got %q, %v; want that it is not known", c.Own, c.OwnErr)
	}
	r.stays()
	undo()
	r.calls(set1)
	if c := source.Check(t.Context())[0]; c.OwnErr != nil || c.Own != "dc1" {
		t.Errorf("check: got %q, %v; want dc1", c.Own, c.OwnErr)
	}
}

// TestCheckOfALabelThatIsInOtherDataCentres: nothing is wrong with its service.
func TestCheckOfALabelThatIsInOtherDataCentres(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	setEntry(s, datacenter.Entry{Active: "dc1", Term: 3})
	c := twoPlaces(s)
	c.Labels = []Label{c.Labels[0], c.Labels[0]}
	c.Labels[1].Name, c.Labels[1].Datacenters = "elsewhere", []string{"dc2", "dc3"}
	source, err := NewConsul(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if got := source.Check(t.Context())[0].Labels[1]; got.Why != foreign("dc1") || len(got.Masters) > 0 {
		t.Errorf("got %+v; want that dc1 is none of its data centres", got)
	}
}

// TestActivationIsAnEvent, and what a process reads when it starts is none.
func TestActivationIsAnEvent(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	r := start(t, twoPlaces(s))
	await(t, "that nobody is active", func() bool { return r.Labels()[0].State == Inactive })
	for i, c := range []struct {
		entry datacenter.Entry
		want  string
	}{
		{datacenter.Entry{Term: 2, By: "op"}, "activation: active data centre [from  to  term 2 by op]"},
		{datacenter.Entry{Active: "dc1", Term: 3}, "activation: active data centre [from  to dc1 term 3 by ]"},
		{datacenter.Entry{Active: "dc2", Term: 6, Without: []string{"dc1"}}, "activation: active data centre [from dc1 to dc2 term 6 by  without [dc1]]"},
	} {
		setEntry(s, c.entry)
		await(t, "the event", func() bool { return len(r.told()) > i })
		if got := r.told()[i]; got != c.want {
			t.Errorf("got %s; want %s", got, c.want)
		}
	}
	late := start(t, twoPlaces(s))
	late.calls(set1)
	if got := late.told(); len(got) > 0 {
		t.Errorf("got %q; want no event for who starts", got)
	}
}
