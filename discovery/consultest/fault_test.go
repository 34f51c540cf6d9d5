package consultest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

const healthPath = "/v1/health/service/sync"

// answer is what a client got, as far as it got.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// index is X-Consul-Index; 0 when there is none.
func (a answer) index() uint64 {
	i, _ := strconv.ParseUint(a.header.Get("X-Consul-Index"), 10, 64)
	return i
}

// get asks the double; at most limit bytes of the body are read.
func get(ctx context.Context, s *consultest.Server, path string, limit int64) answer {
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		return answer{err: err}
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func ask(t *testing.T, s *consultest.Server, path string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	return get(ctx, s, path, 1<<20)
}

// later asks in the background.
func later(t *testing.T, s *consultest.Server, path string) <-chan answer {
	t.Helper()
	got := make(chan answer, 1)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	go func() { got <- get(ctx, s, path, 1<<20) }()
	return got
}

// pending fails when there is an answer already.
func pending(t *testing.T, got <-chan answer) {
	t.Helper()
	select {
	case a := <-got:
		t.Fatalf("got an answer: %+v; want none yet", a)
	case <-time.After(100 * time.Millisecond):
	}
}

// newDouble has one service, sync, with a master.
func newDouble(t *testing.T) *consultest.Server {
	t.Helper()
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	s.Register(consultest.Service{ID: "sync-1", Name: "sync", Port: 7800, Tags: []string{"role=master"}})
	return s
}

// poll is the path of a blocking query that waits for the next change.
func poll(s *consultest.Server) string {
	return healthPath + "?wait=10m&index=" + strconv.FormatUint(s.Index(), 10)
}

// awaitPoll waits until a blocking query is in flight.
func awaitPoll(t *testing.T, s *consultest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	must(t, s.AwaitLongPolls(ctx, 1))
}

func TestFaultsChangeAnswers(t *testing.T) {
	good := ask(t, newDouble(t), healthPath)
	if good.err != nil || good.status != 200 || !strings.Contains(good.body, `"sync-1"`) {
		t.Fatalf("answer without a fault: got %+v; want 200 with sync-1", good)
	}
	for name, tc := range map[string]struct {
		fault  func(*consultest.Server) consultest.Fault
		status int
		body   string // empty: as without the fault
		header map[string]string
	}{
		"500":             {fault: just(consultest.Status(500, "No cluster leader")), status: 500, body: "No cluster leader"},
		"429":             {fault: just(consultest.Status(429, "Too many")), status: 429, body: "Too many"},
		"503":             {fault: just(consultest.Status(503, "Unavailable")), status: 503, body: "Unavailable"},
		"403":             {fault: just(consultest.Status(403, "ACL not found")), status: 403, body: "ACL not found"},
		"garbage":         {fault: just(consultest.Body("<html>")), body: "<html>"},
		"null":            {fault: just(consultest.Body("null")), body: "null"},
		"[{}]":            {fault: just(consultest.Body("[{}]")), body: "[{}]"},
		"index 0":         {fault: just(consultest.Index("0")), header: map[string]string{"X-Consul-Index": "0"}},
		"index missing":   {fault: just(consultest.Index("")), header: map[string]string{"X-Consul-Index": ""}},
		"index garbage":   {fault: just(consultest.Index("many")), header: map[string]string{"X-Consul-Index": "many"}},
		"index backwards": {fault: just(consultest.IndexBack(5)), header: map[string]string{"X-Consul-Index": "6"}},
		"index at least 1": {fault: just(consultest.IndexBack(5000)), header: map[string]string{
			"X-Consul-Index": "1"}},
		"denied": {fault: just(consultest.Denied()), body: "[]\n", header: map[string]string{
			"X-Consul-Results-Filtered-By-ACLs": "true", "X-Consul-Default-ACL-Policy": "deny", "X-Consul-Index": "11"}},
		"denied by default": {fault: just(consultest.DeniedByDefault()), body: "[]\n", header: map[string]string{
			"X-Consul-Results-Filtered-By-ACLs": "", "X-Consul-Default-ACL-Policy": "deny"}},
		"denied silently": {fault: just(consultest.DeniedSilently()), body: "[]\n", header: map[string]string{
			"X-Consul-Results-Filtered-By-ACLs": "", "X-Consul-Default-ACL-Policy": "allow"}},
		"no leader": {fault: just(consultest.NoLeader(3 * time.Second)), header: map[string]string{
			"X-Consul-KnownLeader": "false", "X-Consul-LastContact": "3000"}},
		"drip": {fault: just(consultest.Drip(100, time.Millisecond))},
		"slow": {fault: just(consultest.Slow(time.Millisecond))},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDouble(t)
			undo := s.Inject(tc.fault(s))
			a := ask(t, s, healthPath)
			if tc.status == 0 {
				tc.status = 200
			}
			if tc.body == "" {
				tc.body = ask(t, newDouble(t), healthPath).body
				tc.body = strings.Split(tc.body, `"Node":"`)[1] // the node's id is each double's own
				a.body = strings.Split(a.body+`"Node":"`, `"Node":"`)[1]
			}
			if a.err != nil || a.status != tc.status || a.body != tc.body {
				t.Errorf("answer: got %d %q, %v; want %d %q", a.status, a.body, a.err, tc.status, tc.body)
			}
			for name, want := range tc.header {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: got %q; want %q", name, got, want)
				}
			}
			undo()
			undo() // is harmless
			if a := ask(t, s, healthPath); a.err != nil || a.status != 200 || !strings.Contains(a.body, `"sync-1"`) {
				t.Errorf("answer after undo: got %+v; want 200 with sync-1", a)
			}
		})
	}
}

func just(f consultest.Fault) func(*consultest.Server) consultest.Fault {
	return func(*consultest.Server) consultest.Fault { return f }
}

func TestResetResetsTheConnection(t *testing.T) {
	s := newDouble(t)
	defer s.Inject(consultest.Reset())()
	if a := ask(t, s, healthPath); !errors.Is(a.err, syscall.ECONNRESET) {
		t.Errorf("error: got %v; want %v", a.err, syscall.ECONNRESET)
	}
}

func TestTruncatedBodyIsAnErrorAfterGoodHeaders(t *testing.T) {
	s := newDouble(t)
	defer s.Inject(consultest.Truncated())()
	a := ask(t, s, healthPath)
	if a.status != 200 || !errors.Is(a.err, io.ErrUnexpectedEOF) || a.body == "" {
		t.Errorf("answer: got %d, %d bytes, %v; want 200, some bytes, %v", a.status, len(a.body), a.err, io.ErrUnexpectedEOF)
	}
}

func TestHangEndsWithUndo(t *testing.T) {
	s := newDouble(t)
	undo := s.Inject(consultest.Hang())
	got := later(t, s, healthPath)
	pending(t, got)
	undo()
	if a := <-got; a.err != nil || a.status != 200 {
		t.Errorf("answer after undo: got %+v; want 200", a)
	}
}

func TestHangMidAnswerSendsTheRestAfterUndo(t *testing.T) {
	s := newDouble(t)
	undo := s.Inject(consultest.HangMidAnswer())
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+healthPath, nil)
	must(t, err)
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	half := make([]byte, resp.ContentLength/2)
	if _, err := io.ReadFull(resp.Body, half); err != nil {
		t.Fatalf("read the first half: %v", err)
	}
	undo()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || len(half)+len(rest) != int(resp.ContentLength) {
		t.Errorf("the rest: got %d bytes, %v; want %d", len(rest), err, int(resp.ContentLength)-len(half))
	}
}

func TestDripIsCutByStop(t *testing.T) {
	s := newDouble(t)
	s.Inject(consultest.Drip(1, time.Minute))
	got := later(t, s, healthPath)
	pending(t, got)
	s.Stop()
	if a := <-got; a.err == nil {
		t.Errorf("answer: got %+v; want an error", a)
	}
}

func TestJunkIsStreamedToTheEnd(t *testing.T) {
	const size = 100 << 20
	s := newDouble(t)
	defer s.Inject(consultest.Junk(size))()
	resp, err := http.Get(s.URL + healthPath)
	must(t, err)
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size+2 {
		t.Errorf("body: got %d bytes, %v; want %d", n, err, size+2)
	}
}

func TestJunkStopsWithItsReader(t *testing.T) {
	s := newDouble(t)
	s.Inject(consultest.Junk(1 << 50))
	a := get(t.Context(), s, healthPath, 1<<20)
	if len(a.body) != 1<<20 || a.body[0] != '[' {
		t.Errorf("body: got %d bytes; want %d that begin with [", len(a.body), 1<<20)
	}
	eventually(t, "the request ends", func() bool { return s.Connections() == 0 })
}

func TestNearUnsupportedRefusesOnlyNear(t *testing.T) {
	s := newDouble(t)
	defer s.Inject(consultest.NearUnsupported())()
	for query, want := range map[string]int{"?near=_agent": 400, "": 200} {
		if a := ask(t, s, healthPath+query); a.status != want {
			t.Errorf("status with %q: got %d; want %d", query, a.status, want)
		}
	}
}

func TestNoSnapshotIsEmptyWithIndexOne(t *testing.T) {
	s := newDouble(t)
	defer s.Inject(consultest.NoSnapshot())()
	a := ask(t, s, poll(s))
	if a.status != 200 || a.body != "[]\n" || a.index() != 1 || a.header.Get("X-Consul-Query-Backend") != "streaming" || a.header.Get("X-Consul-KnownLeader") != "false" {
		t.Errorf("blocking query: got %+v; want an empty list of the streaming backend, index 1", a)
	}
	for _, query := range []string{"", "?consistent", "?near=_agent&index=1"} {
		if a := ask(t, s, healthPath+query); !strings.Contains(a.body, `"sync-1"`) {
			t.Errorf("query with %q: got %q; want sync-1", query, a.body)
		}
	}
}

func TestSameIndexHidesANewBody(t *testing.T) {
	s := newDouble(t)
	was := s.Index()
	defer s.Inject(s.SameIndex())()
	got := later(t, s, poll(s))
	s.SetTags("sync-1", "role=slave")
	if a := <-got; a.index() != was || !strings.Contains(a.body, "role=slave") {
		t.Errorf("answer: got index %d, %q; want %d with role=slave", a.index(), a.body, was)
	}
}

func TestLaggingAgentServesTheOldCatalogUnderItsOldIndex(t *testing.T) {
	s := newDouble(t)
	was := s.Index()
	undo := s.Lag()
	s.SetTags("sync-1", "role=slave")
	if a := ask(t, s, healthPath); a.index() != was || !strings.Contains(a.body, "role=master") {
		t.Errorf("answer: got index %d, %q; want %d with role=master", a.index(), a.body, was)
	}
	got := later(t, s, healthPath+"?wait=10m&index="+strconv.FormatUint(was, 10))
	pending(t, got)
	undo()
	if a := <-got; a.index() <= was || !strings.Contains(a.body, "role=slave") {
		t.Errorf("the poll after undo: got index %d, %q; want above %d with role=slave", a.index(), a.body, was)
	}
}

func TestInjectionReachesPollsThatWait(t *testing.T) {
	for name, fault := range map[string]consultest.Fault{
		"status": consultest.Status(500, "No cluster leader"),
		"body":   consultest.Body("garbage"),
		"index":  consultest.Index("3"),
		"denied": consultest.Denied(),
	} {
		t.Run(name, func(t *testing.T) {
			s := newDouble(t)
			got := later(t, s, poll(s))
			awaitPoll(t, s)
			s.Inject(fault)
			a := <-got
			if a.err != nil {
				t.Fatalf("poll: %v", a.err)
			}
			if faults := s.Requests()[0].Faults; len(faults) != 1 || faults[0] != fault.Name {
				t.Errorf("faults on record: got %q; want %q", faults, fault.Name)
			}
		})
	}
}

func TestInjectionSparesWhatItDoesNotMatch(t *testing.T) {
	s := newDouble(t)
	got := later(t, s, poll(s))
	awaitPoll(t, s)
	s.Inject(consultest.Status(500, "").On("/v1/kv/"))
	pending(t, got)
	s.SetTags("sync-1")
	if a := <-got; a.status != 200 {
		t.Errorf("status: got %d; want 200", a.status)
	}
}

func TestTimesCountsRequests(t *testing.T) {
	s := newDouble(t)
	s.Inject(consultest.Status(500, "").Times(2).When(func(r *http.Request) bool { return r.Method == "GET" }))
	for i, want := range []int{500, 500, 200} {
		if a := ask(t, s, healthPath); a.status != want {
			t.Errorf("status of request %d: got %d; want %d", i+1, a.status, want)
		}
	}
}

func TestFaultsStackNewestOutermost(t *testing.T) {
	s := newDouble(t)
	s.Inject(consultest.Index("7"))
	s.Inject(consultest.IndexBack(2))
	if a := ask(t, s, healthPath); a.index() != 5 {
		t.Errorf("index: got %d; want 5", a.index())
	}
	s.Inject(consultest.Status(503, ""))
	if a := ask(t, s, healthPath); a.status != 503 {
		t.Errorf("status: got %d; want 503", a.status)
	}
}
