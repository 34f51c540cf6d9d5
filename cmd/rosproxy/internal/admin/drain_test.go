package admin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rosproxy/rosproxy/drain"
)

// busyTarget has connections that end at the deadline of a drain alone.
type busyTarget struct {
	active    int
	resumeErr error
}

func (g busyTarget) Shutdown(ctx context.Context) (drain.Rest, error) {
	if g.active == 0 {
		return drain.Rest{}, nil
	}
	<-ctx.Done()
	return drain.Rest{Cut: g.active}, ctx.Err()
}

func (g busyTarget) Resume() error  { return g.resumeErr }
func (g busyTarget) Reclaim() error { return g.resumeErr }
func (g busyTarget) Active() int    { return g.active }

// inBubble runs f with endpoints over a lifecycle in a bubble of fake time.
func inBubble(t *testing.T, target busyTarget, f func(t *testing.T, a *Server)) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newAdmin(t)
		a.lifecycle = runLifecycle(t, target)
		f(t, a)
	})
}

func TestHTTPShowsEveryFieldOfTheState(t *testing.T) {
	inBubble(t, busyTarget{active: 2}, func(t *testing.T, a *Server) {
		v := wantJSON(t, ask(a, "GET", "/drain"), 200)
		if v["state"] != "serving" || v["active"] != 2.0 || v["accepting"] != true || v["started"] != nil || v["deadline"] != nil {
			t.Errorf("got %v; want serving, 2 active, accepting, neither start nor deadline", v)
		}
		v = wantJSON(t, ask(a, "POST", "/drain?grace=10s&timeout=1m"), 202)
		started, err := time.Parse(time.RFC3339, v["started"].(string))
		if err != nil {
			t.Errorf("started: %v", err)
		}
		deadline, err := time.Parse(time.RFC3339, v["deadline"].(string))
		if err != nil {
			t.Errorf("deadline: %v", err)
		}
		if deadline.Sub(started) != time.Minute {
			t.Errorf("got the deadline %v after the start; want 1m", deadline.Sub(started))
		}
		if v["state"] != "draining" || v["accepting"] != true {
			t.Errorf("got %v; want draining, accepting", v)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if v = wantJSON(t, ask(a, "GET", "/drain"), 200); v["accepting"] != false {
			t.Errorf("got %v; want not accepting after the grace asked for", v)
		}
	})
}

func TestHTTPUndo(t *testing.T) {
	inBubble(t, busyTarget{}, func(t *testing.T, a *Server) {
		ask(a, "POST", "/drain?grace=0s")
		synctest.Wait()
		if v := wantJSON(t, ask(a, "GET", "/drain"), 200); v["state"] != "drained" {
			t.Fatalf("got %v; want drained", v)
		}
		if v := wantJSON(t, ask(a, "DELETE", "/drain"), 200); v["state"] != "serving" {
			t.Errorf("got %v; want serving", v)
		}
	})
}

func TestHTTPUndoOfADrainWithExitIsAConflict(t *testing.T) {
	inBubble(t, busyTarget{active: 1}, func(t *testing.T, a *Server) {
		ask(a, "POST", "/drain?exit=true")
		wantError(t, ask(a, "DELETE", "/drain"), 409, "stopping")
	})
}

func TestHTTPUndoTellsWhyTheListenersStayClosed(t *testing.T) {
	inBubble(t, busyTarget{resumeErr: errors.New("address already in use")}, func(t *testing.T, a *Server) {
		ask(a, "POST", "/drain?grace=0s")
		wantError(t, ask(a, "DELETE", "/drain"), 500, "address already in use")
		if v := wantJSON(t, ask(a, "GET", "/drain"), 200); v["accepting"] != false {
			t.Errorf("got %v; want not accepting", v)
		}
	})
}

func TestHTTPRefusesBadRequestsAndChangesNothing(t *testing.T) {
	for _, c := range []struct {
		method, query string
		code          int
		says          []string
	}{
		{"POST", "?grace=abc", 400, []string{"grace", `"abc"`, "not a duration"}},
		{"POST", "?grace=5", 400, []string{"grace", `"5"`, "not a duration"}},
		{"POST", "?grace=", 400, []string{"grace", `""`, "empty"}},
		{"POST", "?timeout=-1s", 400, []string{"timeout", `"-1s"`, "negative"}},
		{"POST", "?timeout=100000h", 400, []string{"timeout", `"100000h"`, "longer than"}},
		{"POST", "?exit=maybe", 400, []string{"exit", `"maybe"`, "neither true nor false"}},
		{"POST", "?exit", 400, []string{"exit", `""`}},
		{"POST", "?grace=1s&grace=2s", 400, []string{"grace", `"2s"`, "given 2 times"}},
		{"POST", "?gracee=1s", 400, []string{"gracee", "unknown parameter", "grace, timeout, exit"}},
		{"POST", "?grace=%zz", 400, []string{"query"}},
		{"GET", "?exit=true", 400, []string{"exit", "unknown parameter"}},
		{"DELETE", "?exit=true", 400, []string{"exit", "unknown parameter"}},
		{"PUT", "", 405, []string{"PUT"}},
	} {
		t.Run(c.method+c.query, func(t *testing.T) {
			inBubble(t, busyTarget{active: 1}, func(t *testing.T, a *Server) {
				w := ask(a, c.method, "/drain"+c.query)
				wantError(t, w, c.code, c.says...)
				if allow := w.Header().Get("Allow"); c.code == 405 && allow != "DELETE, GET, HEAD, POST" {
					t.Errorf("got Allow %q; want the four methods", allow)
				}
				if s := a.lifecycle.State(); s.Phase != drain.Serving || !s.Accepting {
					t.Errorf("got %s, accepting %t; want nothing changed", s.Phase, s.Accepting)
				}
			})
		})
	}
}
