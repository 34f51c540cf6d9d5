package drain

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func do(m *Machine, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader("ignored")))
	return w
}

// decode reads the state that w carries, strictly by the contract's names.
func decode(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q; want application/json", got)
	}
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("decode %q: %v", w.Body, err)
	}
	return v
}

func TestHTTPShowsEveryFieldOfTheState(t *testing.T) {
	inBubble(t, newTarget(2), func(t *testing.T, m *Machine) {
		v := decode(t, do(m, "GET", "/drain"))
		if v["state"] != "serving" || v["active"] != 2.0 || v["accepting"] != true || v["started"] != nil || v["deadline"] != nil {
			t.Errorf("got %v; want serving, 2 active, accepting, neither start nor deadline", v)
		}
		w := do(m, "POST", "/drain?grace=10s&timeout=1m")
		if w.Code != http.StatusAccepted {
			t.Errorf("POST: got %d; want 202", w.Code)
		}
		v = decode(t, w)
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
		if v = decode(t, do(m, "GET", "/drain")); v["accepting"] != false {
			t.Errorf("got %v; want not accepting after the grace asked for", v)
		}
	})
}

func TestHTTPUndo(t *testing.T) {
	inBubble(t, newTarget(0), func(t *testing.T, m *Machine) {
		do(m, "POST", "/drain?grace=0s")
		synctest.Wait()
		if v := decode(t, do(m, "GET", "/drain")); v["state"] != "drained" {
			t.Fatalf("got %v; want drained", v)
		}
		w := do(m, "DELETE", "/drain")
		if v := decode(t, w); w.Code != http.StatusOK || v["state"] != "serving" {
			t.Errorf("got %d %v; want 200 serving", w.Code, v)
		}
	})
}

func TestHTTPUndoOfADrainWithExitIsAConflict(t *testing.T) {
	inBubble(t, newTarget(1), func(t *testing.T, m *Machine) {
		do(m, "POST", "/drain?exit=true")
		w := do(m, "DELETE", "/drain")
		if v := decode(t, w); w.Code != http.StatusConflict || v["error"] == nil {
			t.Errorf("got %d %v; want 409 and an error", w.Code, v)
		}
	})
}

func TestHTTPUndoTellsWhyTheListenersStayClosed(t *testing.T) {
	tg := newTarget(0)
	tg.resumeErr = errors.New("address already in use")
	inBubble(t, tg, func(t *testing.T, m *Machine) {
		do(m, "POST", "/drain?grace=0s")
		w := do(m, "DELETE", "/drain")
		v := decode(t, w)
		if msg, _ := v["error"].(string); w.Code != http.StatusInternalServerError || !strings.Contains(msg, "address already in use") {
			t.Errorf("got %d %v; want 500 and the reason", w.Code, v)
		}
		if v = decode(t, do(m, "GET", "/drain")); v["accepting"] != false {
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
		{"POST", "?grace=", 400, []string{"grace", `""`, "not a duration"}},
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
			inBubble(t, newTarget(1), func(t *testing.T, m *Machine) {
				w := do(m, c.method, "/drain"+c.query)
				msg, _ := decode(t, w)["error"].(string)
				if w.Code != c.code {
					t.Errorf("got %d; want %d", w.Code, c.code)
				}
				for _, s := range c.says {
					if !strings.Contains(msg, s) {
						t.Errorf("got error %q; want it to say %q", msg, s)
					}
				}
				if c.code == 405 && w.Header().Get("Allow") != "GET, HEAD, POST, DELETE" {
					t.Errorf("got Allow %q; want the four methods", w.Header().Get("Allow"))
				}
				m.State().want(t, Serving, true, 1)
			})
		})
	}
}
