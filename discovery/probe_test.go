package discovery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest/patronitest"
)

func TestReadinessIsUnderstood(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		err    string // empty: ready
	}{
		{200, `{"state":"running","role":"master","server_version":150000}`, ""},
		{200, `{"role":"primary"}`, ""},
		{200, `{"role":"replica"}`, "replica"},
		{200, `{"role":"demoted"}`, "demoted"},
		{200, ``, ""},
		{200, `OK`, ""},
		{200, `{"state":"running"}`, ""},
		{503, `{"role":"master"}`, "503"},
		{404, ``, "404"},
		{204, ``, "204"},
		{302, ``, "302"},
		{200, strings.Repeat(" ", maxAPIBody+1), "64 KiB"},
	} {
		err := readiness(tc.status, []byte(tc.body))
		if (err == nil) != (tc.err == "") || tc.err != "" && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%d %.40q: got %v; want an error with %q", tc.status, tc.body, err, tc.err)
		}
	}
}

func FuzzReadiness(f *testing.F) {
	f.Add(200, []byte(`{"role":"replica"}`))
	f.Add(200, []byte(`{"role":1}`))
	f.Add(503, []byte(``))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := readiness(status, body)
		if err == nil && status != http.StatusOK {
			t.Fatalf("ready by status %d", status)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Fatalf("got an error with control characters: %q", err)
		}
	})
}

func TestProbesBeginEvery25msAndSlowDown(t *testing.T) {
	for since, want := range map[time.Duration]time.Duration{
		0: 25 * time.Millisecond, 400 * time.Millisecond: 25 * time.Millisecond, 2 * time.Second: 100 * time.Millisecond, time.Hour: time.Second,
	} {
		if got := probePace(since); got != want {
			t.Errorf("after %v: got %v until the next probe; want %v", since, got, want)
		}
	}
}

// awaitReady waits for a result, and fails unless it says want.
func awaitReady(t *testing.T, p *prober, term int, want string) {
	t.Helper()
	select {
	case r := <-p.results:
		if r.term != term || r.why != want && (want == "" || !strings.Contains(r.why, want)) {
			t.Fatalf("got %+v; want %q of term %d", r, want, term)
		}
	case <-time.After(testTimeout):
		t.Fatalf("waited in vain for %q", want)
	}
}

func TestProbeThatHangsDoesNotHoldBackTheNext(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/primary" {
			t.Errorf("got %s %s; want GET /primary", r.Method, r.URL.Path)
		}
		if asked.Add(1) == 1 {
			<-r.Context().Done()
		}
	}))
	defer s.Close()
	p := newProber()
	defer p.close()
	began := time.Now()
	p.ask(t.Context(), s.URL, 3)
	awaitReady(t, p, 3, "")
	if took := time.Since(began); took >= probeTimeout && asked.Load() < 3 {
		t.Errorf("got ready after %v and %d probes; want the second one's answer", took, asked.Load())
	}
}

func TestReadinessThatCannotBeHad(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.Handler
		want   string
	}{
		"a status":    {patronitest.Status(503, `{}`), "503"},
		"it hangs":    {patronitest.Hang(), "no complete answer"},
		"it drips":    {patronitest.Drip(10 * time.Millisecond), "no complete answer"},
		"it is huge":  {patronitest.Huge(1 << 30), "64 KiB"},
		"it is moved": {patronitest.Redirect("http://127.0.0.1:1/"), "302"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(tc.answer)
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(func() { cancel(); s.CloseClientConnections(); s.Close() })
			p := newProber()
			defer p.close()
			p.ask(ctx, s.URL, 1)
			awaitReady(t, p, 1, tc.want)
		})
	}
	p := newProber()
	defer p.close()
	p.ask(t.Context(), "http://127.0.0.1:1", 1)
	awaitReady(t, p, 1, "refused")
}

func TestReadinessOverTLSIsTrustedAsTheSystemDoes(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	p := newProber()
	defer p.close()
	p.ask(t.Context(), s.URL, 1)
	awaitReady(t, p, 1, "certificate")

	trusting := newProber()
	defer trusting.close()
	trusting.client.Transport = s.Client().Transport
	trusting.ask(t.Context(), s.URL, 1)
	awaitReady(t, trusting, 1, "")
}

func TestProberAsksForOneLeaderAtATime(t *testing.T) {
	var old atomic.Int64
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		old.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer first.Close()
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	defer second.Close()
	p := newProber()
	defer p.close()
	p.ask(t.Context(), first.URL, 1)
	awaitReady(t, p, 1, "503")
	p.ask(t.Context(), second.URL, 2)
	awaitReady(t, p, 2, "")
	p.ask(t.Context(), "", 2)
	seen := old.Load()
	time.Sleep(100 * time.Millisecond)
	if now := old.Load(); now > seen+maxProbes {
		t.Errorf("got %d more probes of the first; want them to have ended", now-seen)
	}
}

// TestProbesGoOnUntilTheLeaderIsReady, however often it is not, and say that once.
func TestProbesGoOnUntilTheLeaderIsReady(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= 3*maxProbes {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	p := newProber()
	defer p.close()
	p.ask(t.Context(), s.URL, 1)
	awaitReady(t, p, 1, "503")
	awaitReady(t, p, 1, "")
	seen := asked.Load()
	time.Sleep(4 * firstProbes)
	if n := asked.Load(); n > seen+maxProbes {
		t.Errorf("got %d more probes of a leader that is ready; want none", n-seen)
	}
}

// TestSameLeaderAskedForAgainIsProbedAsBefore; in another term it is asked anew.
func TestSameLeaderAskedForAgainIsProbedAsBefore(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= maxProbes {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	p := newProber()
	defer p.close()
	for range 5 * maxProbes {
		p.ask(t.Context(), s.URL, 1)
		time.Sleep(5 * time.Millisecond)
	}
	if n := asked.Load(); n > maxProbes {
		t.Errorf("got %d probes, of which each hangs; want %d at most", n, maxProbes)
	}
	await(t, "as many probes as may hang", func() bool { return asked.Load() >= maxProbes })
	p.ask(t.Context(), s.URL, 2)
	awaitReady(t, p, 2, "")
}

func TestProberThatIsClosedHasNoConnection(t *testing.T) {
	var open atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	defer s.Close()
	p := newProber()
	p.client.Transport.(*http.Transport).IdleConnTimeout = time.Hour
	p.ask(t.Context(), s.URL, 1)
	awaitReady(t, p, 1, "")
	p.close()
	await(t, "no connection", func() bool { return open.Load() == 0 })
}
