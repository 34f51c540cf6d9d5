package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// blanks answers 200 with an empty list that has n blanks in it.
func blanks(n int) consultest.Fault {
	return consultest.Fault{Name: "blanks", Do: func(x *consultest.Exchange) (*consultest.Answer, error) {
		h := x.Writer.Header()
		h.Set("X-Consul-Index", "1000000")
		h.Set("Content-Length", strconv.Itoa(n+2))
		x.Writer.Write([]byte("["))
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for left := n; left > 0; left -= len(chunk) {
			if x.Context.Err() != nil {
				return nil, context.Cause(x.Context)
			}
			if _, err := x.Writer.Write(chunk[:min(left, len(chunk))]); err != nil {
				return nil, err
			}
		}
		_, err := x.Writer.Write([]byte("]"))
		return nil, err
	}}
}

// TestFaultKeepsTheMaster: whatever Consul answers that is no answer, nobody
// is told anything, there is one warning and one line when it is over, and the
// next failover is seen.
func TestFaultKeepsTheMaster(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault consultest.Fault
		err   string // in AgentStatus.Error
	}{
		{"the agent hangs", consultest.Hang(), "no complete answer"},
		{"the agent hangs mid-answer", consultest.HangMidAnswer(), "no complete answer"},
		{"the agent drips", consultest.Drip(1, 100*time.Millisecond), "no complete answer"},
		{"the connection is reset", consultest.Reset(), ""},
		{"the answer is truncated", consultest.Truncated(), "unexpected EOF"},
		{"500 without a leader", consultest.Status(500, "No cluster leader"), "No cluster leader"},
		{"429", consultest.Status(429, "too many concurrent connections"), "429"},
		{"503", consultest.Status(503, "rate limit"), "503"},
		{"a gateway's page", consultest.Status(502, "<html>Bad Gateway</html>"), "502"},
		{"garbage", consultest.Body("\x00\xff{garbage"), "understand"},
		{"null", consultest.Body("null"), "null"},
		{"an empty object", consultest.Body("[{}]"), "no Node"},
		{"a body that is much too long", blanks(100 << 30), "32 MiB"},
		{"403", consultest.Status(403, "ACL not found"), "denied"},
		{"an empty list to a token without rights", consultest.Denied(), "denied"},
		{"an empty list without a hint but the default policy", consultest.DeniedByDefault(), "denied"},
		{"a server that lost its leader", consultest.NoLeader(time.Minute), "no leader"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := double(t)
			r := start(t, quick(s.Addr))
			r.calls(set1)
			r.heard(0)

			undo := s.Inject(tc.fault.On("/v1/health/"))
			before, warnedBefore, overBefore := r.agent(0).Errors, r.warned(tc.err), r.log.count("info", "consul answers again")
			await(t, "errors", func() bool { return r.agent(0).Errors >= before+3 })
			await(t, fmt.Sprintf("an agent that is not OK because of %q", tc.err), func() bool {
				a := r.agent(0)
				return !a.OK && strings.Contains(a.Error, tc.err)
			})
			r.state(Found, 1)
			r.calls(set1)
			await(t, "a warning", func() bool { return r.log.count("warn", "") > 0 })
			// A long poll that began before the fault may still be answered, and end it in between.
			warned, over := r.warned(tc.err)-warnedBefore, r.log.count("info", "consul answers again")-overBefore
			if warned > over+1 {
				t.Errorf("got %d warnings of a fault that was over %d times; want one each", warned, over)
			}

			undo()
			var a AgentStatus
			await(t, "recovery", func() bool { a = r.agent(0); return a.OK })
			if a.Error != "" || a.Address != s.Addr {
				t.Errorf("got agent %+v; want %s without an error", a, s.Addr)
			}
			await(t, "the end of the trouble in the log", func() bool { return r.log.count("info", "answers again") > 0 })
			failover(s)
			r.calls(set1, set2)
		})
	}
}

// warned is how many warnings there are of a fault, without those that a busy
// machine adds: that there was no complete answer in time.
func (r *running) warned(of string) int {
	n := r.log.count("warn", "")
	if of != "no complete answer" {
		n -= r.log.count("warn", "no complete answer in time")
	}
	return n
}

func TestDeadAgentKeepsTheMaster(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.Stop()
	await(t, "errors", func() bool { return r.agent(0).Errors >= 5 })
	failover(s) // while nobody can see it
	s.Start()
	r.calls(set1, set2)
	await(t, "recovery", func() bool { return r.agent(0).OK })
}

func TestStartWithoutConsulWaitsForIt(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Stop()
	r := start(t, quick(s.Addr))
	await(t, "errors", func() bool { return r.agent(0).Errors >= 3 })
	r.state(Starting, 0)
	r.calls()
	s.Start()
	r.calls(set1)
	r.state(Found, 1)
}

func TestConsulNameThatDoesNotResolveIsTroubleOnly(t *testing.T) {
	t.Parallel()
	s := double(t)
	names := newFakeDNS()
	r := startWith(t, quick("http://consul.example:"+port(s.Addr)), names.lookup)
	await(t, "errors", func() bool { return r.agent(0).Errors >= 3 })
	if a := r.agent(0); !strings.Contains(a.Error, "consul.example") {
		t.Errorf("got error %q; want it to name consul.example", a.Error)
	}
	r.state(Starting, 0)
	names.set("consul.example", "127.0.0.1")
	r.calls(set1)
}

func TestUnusableIndexIsVerified(t *testing.T) {
	for _, index := range []string{"", "0", "garbage", "-1"} {
		t.Run("index "+index, func(t *testing.T) {
			t.Parallel()
			s := double(t)
			r := start(t, quick(s.Addr))
			r.calls(set1)
			undo := s.Inject(consultest.Index(index).On("/v1/health/"))
			await(t, "an index reset", func() bool { return r.agent(0).IndexResets > 0 })
			r.heard(0)
			r.calls(set1)
			failover(s)
			r.calls(set1, set2)
			undo()
			s.SetTags("sync-1", "role=master")
			r.calls(set1, set2, set1)
		})
	}
}

func TestIndexGoingBackKeepsTheSameMaster(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	undo := s.Inject(consultest.IndexBack(5).On("/v1/health/"))
	await(t, "an index reset", func() bool { return r.agent(0).IndexResets > 0 })
	r.heard(0)
	r.calls(set1)
	failover(s)
	r.calls(set1, set2)
	undo()
	s.SetTags("sync-1", "role=master")
	r.calls(set1, set2, set1)
}

func TestSameIndexWithAnotherBodyIsFollowedOnceVerified(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.Inject(s.SameIndex().On("/v1/health/"))
	failover(s)
	r.calls(set1, set2)
}

func TestEmptyLongPollThatIsAStreamingTimeoutIsNoNews(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Inject(consultest.NearUnsupported())
	s.Inject(consultest.NoSnapshot())
	r := start(t, quick(s.Addr))
	r.calls(set1)
	await(t, "an index reset", func() bool { return r.agent(0).IndexResets > 0 })
	r.heard(0)
	r.calls(set1)
	failover(s)
	r.calls(set1, set2)
}

func TestServerWithoutNearIsAskedWithoutIt(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Inject(consultest.NearUnsupported())
	r := start(t, quick(s.Addr))
	r.calls(set1)
	await(t, "a long poll without near", func() bool {
		for _, q := range s.Requests() {
			if q.Blocking() && !q.Query.Has("near") {
				return true
			}
		}
		return false
	})
	failover(s)
	r.calls(set1, set2)
	if a := r.agent(0); a.Errors > 0 {
		t.Errorf("got %d errors, the last %q; want none", a.Errors, a.Error)
	}
}

func TestTokenRevokedThenRestored(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.SetToken("secret", consultest.AllRights)
	r := start(t, quick(s.Addr), func(c *Consul, _ *recorder) {
		for _, a := range c.agents {
			a.token = func() string { return "secret" }
		}
	})
	r.calls(set1)
	s.RevokeToken("secret")
	await(t, "access denied", func() bool { return strings.HasPrefix(r.agent(0).Error, "denied") })
	r.state(Found, 1)
	s.SetToken("secret", consultest.NoRights) // 200 and an empty list
	before := r.agent(0).Errors
	await(t, "access denied", func() bool { return r.agent(0).Errors >= before+3 })
	s.SetToken("secret", consultest.AllRights)
	await(t, "recovery", func() bool { return r.agent(0).OK })
	r.heard(0)
	r.calls(set1)
	r.logged(1, "warn", "consul denies access")
	if strings.Contains(r.log.String(), "secret") {
		t.Error("the log holds the token")
	}
	for _, q := range s.Requests() {
		if got := q.Header.Get("X-Consul-Token"); got != "secret" {
			t.Fatalf("got token %q in a request; want secret", got)
		}
	}
}

func TestOneLongPollPerLabelAndAgent(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "default"}, {Name: "b", Tagged: true}}
	c.Wait = 100 * time.Millisecond
	r := start(t, c)
	await(t, "many polls", func() bool {
		n := 0
		for _, q := range s.Requests() {
			if q.Blocking() {
				n++
			}
		}
		return n > 20
	})
	if n := s.PeakLongPolls(); n > 2 {
		t.Errorf("got %d long polls at a time; want at most 2", n)
	}
	for _, q := range s.Requests() {
		switch {
		case q.Method != http.MethodGet:
			t.Errorf("got a %s; want nothing but GET", q.Method)
		case q.Blocking() && (q.Query.Get("near") != "_agent" || q.Query.Has("stale") || q.Query.Get("wait") != "100ms"):
			t.Errorf("got a long poll with %v; want near=_agent, wait=100ms and no stale", q.Query)
		case q.Query.Has("passing") == q.Query.Has("consistent"):
			t.Errorf("got a query with %v; want passing=1, or consistent", q.Query)
		}
	}
	_ = r
}

func TestNextIndexStartsOverAfterAnErrorAndWhenItGoesBack(t *testing.T) {
	for _, tc := range []struct {
		a    answer
		want uint64
	}{
		{polled(0, says(0, 7)), 7},
		{polled(7, says(0, 7)), 7},
		{polled(7, says(0, 8)), 8},
		{polled(7, says(0, 6)), 0},
		{polled(7, says(0, 0)), 0},
		{answer{kind: unknown, index: 9, err: errNoAnswer}, 0},
		{answer{kind: denied, index: 9, err: errNoAnswer}, 0},
	} {
		if got := nextIndex(tc.a); got != tc.want {
			t.Errorf("after %+v: got %d; want %d", tc.a, got, tc.want)
		}
	}
}

func TestEmptyAnswerIsConfirmedAtOnce(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.VerifyEvery = time.Hour
	r := start(t, c)
	r.calls(set1)
	s.Deregister("sync-1")
	r.calls(set1, "default clear")
}

func TestHealthWarnsOnceAndTellsTheEndOnce(t *testing.T) {
	log := &logBuffer{}
	h := newHealth("consul:8500", zerolog.New(log))
	at := time.Now()
	poll, check := asked{poll: true}, asked{}
	down, no, well := failed(errors.New("refused")), answer{kind: denied, err: errors.New("denied: 403"), arrived: at}, says(0, 7)
	down.arrived = at
	well.arrived = at
	for _, step := range []struct {
		q    asked
		a    answer
		ok   bool
		err  string
		warn int
		info int
	}{
		{poll, down, false, "refused", 1, 0}, // never well before
		{poll, down, false, "refused", 1, 0},
		{check, no, false, "denied: 403", 2, 0}, // another trouble, said once
		{check, no, false, "denied: 403", 2, 0},
		{check, well, false, "refused", 2, 0}, // one of two is still in trouble
		{poll, well, true, "", 2, 1},
		{poll, well, true, "", 2, 1},
		{check, no, false, "denied: 403", 3, 1},
		{check, well, true, "", 3, 2},
	} {
		h.note(step.q, step.a)
		s := h.snapshot()
		warn, info := log.count("warn", ""), log.count("info", "lasted_ms")
		if s.OK != step.ok || s.Error != step.err || warn != step.warn || info != step.info {
			t.Fatalf("after %+v: got %+v with %d warnings and %d ends; want %+v", step.a, s, warn, info, step)
		}
	}
	if s := h.snapshot(); s.Errors != 5 || !s.LastContact.Equal(at) || s.Index != 7 {
		t.Errorf("got %+v; want 5 errors, index 7 and the last contact", s)
	}
}

// TestReadThatWasOvertakenIsNoTrouble: it failed, and a newer one has been answered.
func TestReadThatWasOvertakenIsNoTrouble(t *testing.T) {
	log := &logBuffer{}
	h := newHealth("consul:8500", zerolog.New(log))
	old, well := failed(errNoAnswer), says(0, 7)
	old.began = time.Now()
	well.began = old.began.Add(time.Second)
	h.note(asked{}, well)
	h.note(asked{}, old)
	if s := h.snapshot(); !s.OK || s.Errors != 1 || log.count("warn", "") > 0 {
		t.Errorf("got %+v; want it OK, the error counted and no warning", s)
	}
}

func TestReadThatWasOvertakenEndsNoTrouble(t *testing.T) {
	log := &logBuffer{}
	h := newHealth("consul:8500", zerolog.New(log))
	well, trouble, old := says(0, 7), failed(errNoAnswer), says(0, 7)
	old.began = time.Now()
	well.began = old.began.Add(time.Second)
	trouble.began = old.began.Add(2 * time.Second)
	for _, a := range []answer{well, trouble, old} {
		h.note(asked{}, a)
	}
	if s := h.snapshot(); s.OK || log.count("info", "") > 0 {
		t.Errorf("got %+v; want the trouble that is newer than what was answered", s)
	}
}
