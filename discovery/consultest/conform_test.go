package consultest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// testTimeout is how long anything may take that must happen at all.
const testTimeout = 30 * time.Second

// quiet is how long a query waits that must not be woken.
const quiet = 500 * time.Millisecond

// consul is what a conformance case works with: the double or the real one.
// Cases share it, so each uses names of its own.
type consul struct {
	*api.Client
	url  string
	node string // the agent's own
}

// conformance is every behaviour of Consul that the double claims to have.
var conformance = []struct {
	name string
	run  func(*testing.T, consul)
}{
	{"BlockingQueryWakesOnTagChange", wakesOnTagChange},
	{"BlockingQueryWakesOnEachShapeOfElection", wakesOnElection},
	{"BlockingQueryWakesOnDeregistration", wakesOnDeregistration},
	{"BlockingQueryWakesOnFirstInstance", wakesOnFirstInstance},
	{"BlockingQuerySleepsThroughOtherServices", sleepsThroughOthers},
	{"IndexOfTheFutureWaitsToTheEnd", futureIndexWaits},
	{"IdenticalRegistrationChangesNothing", identicalRegistration},
	{"ModifyIndexRisesWithWhatAServiceIs", modifyIndexRises},
	{"ModifyIndexIgnoresChecks", modifyIndexIgnoresChecks},
	{"CheckOutputAloneIsNotTold", outputAlone},
	{"TagsAreAndedRegardlessOfCase", tagsAnded},
	{"PassingLeavesOutWarningAndCritical", passingOnly},
	{"NodeCheckCountsForEveryService", nodeCheckCounts},
	{"SameServiceIDOnTwoNodesInOrder", twoNodes},
	{"EmptyAddressStaysEmpty", emptyAddress},
	{"MaintenanceIsCriticalUntilItEnds", maintenance},
	{"RegistrationKeepsTheStatusOfItsChecks", registrationKeepsStatus},
	{"ReplaceExistingChecksDropsTheOthers", replaceChecks},
	{"InitialStatusIsHonoured", initialStatus},
	{"TTLCheckExpires", ttlExpires},
	{"TCPCheckFollowsItsListener", tcpCheck},
	{"AnswerHasTheFieldsOfConsul", answerFields},
	{"HealthAnswerHasTheHeadersOfConsul", answerHeaders},
	{"ErrorsReadAsConsulsDo", errorTexts},
	{"SessionTTLExpiryReleasesAfterLockDelay", sessionExpiry},
	{"RenewedSessionLives", sessionRenewal},
	{"SessionsAreListed", sessionListing},
	{"DestroyedSessionHasLockDelay", destroyedSession},
	{"CleanReleaseHasNoLockDelay", cleanRelease},
	{"DeleteBehaviourDeletesTheLock", deleteBehaviour},
	{"CriticalCheckEndsItsSession", criticalEndsSession},
	{"DeregistrationEndsTheSessionOfItsCheck", deregistrationEndsSession},
	{"LockIsExclusiveAndReentrant", lockExclusive},
	{"PlainPutOnHeldLockResetsLockIndex", plainPut},
	{"CompareAndSet", compareAndSet},
	{"MissingKeyWaitsForItsOwnCreation", missingKey},
	{"PrefixQueries", prefixQueries},
	{"OfficialLockPassesFromOneToTheNext", officialLock},
}

func TestDoubleConforms(t *testing.T) {
	t.Parallel()
	s, err := consultest.Listen(consultest.Config{SessionTTLMin: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	conform(t, consul{s.Client(), s.URL, "consultest"})
}

// TestRealConsulConforms proves that the cases are true.
func TestRealConsulConforms(t *testing.T) {
	t.Parallel()
	a := realconsul.StartDev(t, realconsul.SessionTTLMin(time.Second), realconsul.NoStreaming())
	conform(t, consul{a.Client(), a.URL, a.Node})
}

func conform(t *testing.T, c consul) {
	for _, tc := range conformance {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(t, c)
		})
	}
}

// register registers an instance with the agent, passing unless it brings checks of its own.
func (c consul) register(t *testing.T, r *api.AgentServiceRegistration) {
	t.Helper()
	if err := c.Agent().ServiceRegister(r); err != nil {
		t.Fatalf("register %s: %v", r.ID, err)
	}
	t.Cleanup(func() { c.Agent().ServiceDeregister(r.ID) }) // some have done it themselves
	want := fmt.Sprint(r.Tags, r.Address, r.Port)
	eventually(t, "the catalog has "+r.ID+" as "+want, func() bool { // the agent tells its servers when it has time
		for _, e := range c.health(t, r.Name, 0) {
			if e.Service.ID == r.ID && fmt.Sprint(e.Service.Tags, e.Service.Address, e.Service.Port) == want {
				return true
			}
		}
		return false
	})
}

// health lists a service; with after it waits for an index above it, but not long.
func (c consul) health(t *testing.T, name string, after uint64, tags ...string) []*api.ServiceEntry {
	t.Helper()
	entries, _ := c.healthMeta(t, name, &api.QueryOptions{WaitIndex: after, WaitTime: quiet}, false, tags...)
	return entries
}

func (c consul) healthMeta(t *testing.T, name string, q *api.QueryOptions, passing bool, tags ...string) ([]*api.ServiceEntry, *api.QueryMeta) {
	t.Helper()
	entries, meta, err := c.Health().ServiceMultipleTags(name, tags, passing, q)
	if err != nil {
		t.Fatalf("health of %s: %v", name, err)
	}
	return entries, meta
}

// index is the index of a service now.
func (c consul) index(t *testing.T, name string) uint64 {
	t.Helper()
	_, meta := c.healthMeta(t, name, nil, false)
	return meta.LastIndex
}

// woken makes a change while a blocking query waits, and returns what the
// query says. It fails when the query is not woken.
func (c consul) woken(t *testing.T, name string, change func()) []*api.ServiceEntry {
	t.Helper()
	before := c.index(t, name)
	type answer struct {
		entries []*api.ServiceEntry
		meta    *api.QueryMeta
		err     error
	}
	got := make(chan answer, 1)
	go func() {
		e, m, err := c.Health().Service(name, "", false, &api.QueryOptions{WaitIndex: before, WaitTime: 10 * testTimeout})
		got <- answer{e, m, err}
	}()
	change()
	select {
	case a := <-got:
		if a.err != nil {
			t.Fatalf("blocking query: %v", a.err)
		}
		if a.meta.LastIndex <= before {
			t.Errorf("index after the wake: got %d; want above %d", a.meta.LastIndex, before)
		}
		return a.entries
	case <-time.After(testTimeout):
		t.Fatalf("the blocking query was not woken in %v", testTimeout)
	}
	return nil
}

// unmoved makes a change and fails when it moves the index of the service.
func (c consul) unmoved(t *testing.T, name string, change func()) {
	t.Helper()
	before := c.index(t, name)
	change()
	if _, meta := c.healthMeta(t, name, &api.QueryOptions{WaitIndex: before, WaitTime: quiet}, false); meta.LastIndex != before {
		t.Errorf("index: got %d; want %d as before", meta.LastIndex, before)
	}
}

// only is the one entry that must be there.
func only(t *testing.T, entries []*api.ServiceEntry) *api.ServiceEntry {
	t.Helper()
	if len(entries) != 1 {
		t.Fatalf("instances: got %d; want 1", len(entries))
	}
	return entries[0]
}

// raw sends a request as it stands and returns code, header and body.
func (c consul) raw(t *testing.T, method, path, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer to %s %s: %v", method, path, err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in %v: %s", testTimeout, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// must fails on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
