package admin

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// fakePauser says what the test wants.
type fakePauser struct {
	state proxy.PauseState
	err   error
	calls []string
	order proxy.PauseOrder
}

func (f *fakePauser) Pause(_ context.Context, label string, o proxy.PauseOrder) (proxy.PauseState, error) {
	f.calls, f.order = append(f.calls, "pause "+label), o
	return f.state, f.err
}

func (f *fakePauser) Resume(_ context.Context, label, by string) (proxy.PauseState, error) {
	f.calls = append(f.calls, strings.TrimSpace("resume "+label+" "+by))
	return proxy.PauseState{Pause: proxy.Pause{Label: label}, Live: 2, Held: 3}, f.err
}

func (f *fakePauser) Pauses(context.Context) ([]proxy.PauseState, error) {
	if f.state.Until == 0 {
		return nil, f.err
	}
	return []proxy.PauseState{f.state}, f.err
}

func newPauser(t *testing.T) (*Server, *fakePauser) {
	a, _, _ := newAdmin(t)
	f := &fakePauser{}
	a.pauser = f
	return a, f
}

var paused = proxy.PauseState{Pause: proxy.Pause{Label: "default", State: pausing.State{By: "op", Until: time.Hour}}, Ends: since, Live: 4, Held: 5}

func TestPauseEndpoint(t *testing.T) {
	a, f := newPauser(t)
	if got := ask(a, "GET", "/pause").Body.String(); got != "[]\n" {
		t.Errorf("GET with nothing paused: got %q; want an empty array", got)
	}
	f.state = paused
	want := map[string]any{"label": "default", "paused": true, "by": "op", "active": 4.0, "held": 5.0, "until": "2026-01-02T03:04:05.678Z"}
	if got := wantJSON(t, ask(a, "POST", "/pause?label=default&by=op&for=1m&close=quiet"), 202); !reflect.DeepEqual(got, want) {
		t.Errorf("POST: got %v; want %v", got, want)
	}
	if want := (proxy.PauseOrder{By: "op", For: time.Minute, CloseQuiet: true}); f.order != want {
		t.Errorf("order: got %+v; want %+v", f.order, want)
	}
	wantJSON(t, ask(a, "POST", "/pause?label=default"), 202)
	if want := (proxy.PauseOrder{For: 30 * time.Second}); f.order != want {
		t.Errorf("order of one who says no more than the label: got %+v; want %+v", f.order, want)
	}
	const listed = `[{"label":"default","paused":true,"by":"op","active":4,"held":5,"until":"2026-01-02T03:04:05.678Z","master":null}]` + "\n"
	if got := ask(a, "GET", "/pause").Body.String(); got != listed {
		t.Errorf("GET: got %s; want %s", got, listed)
	}
	f.state.Named.Address = addr("10.0.0.1:5432")
	if got := ask(a, "GET", "/pause").Body.String(); !strings.Contains(got, `"master":"10.0.0.1:5432"`) {
		t.Errorf("GET when a read has named the master: got %s; want it in there", got)
	}
	want = map[string]any{"label": "default", "paused": false, "by": "", "active": 2.0, "held": 3.0, "until": nil}
	if got := wantJSON(t, ask(a, "DELETE", "/pause?label=default"), 200); !reflect.DeepEqual(got, want) {
		t.Errorf("DELETE: got %v; want %v", got, want)
	}
	wantJSON(t, ask(a, "DELETE", "/pause?label=default&by=op"), 200)
	if want := []string{"pause default", "pause default", "resume default", "resume default op"}; !reflect.DeepEqual(f.calls, want) {
		t.Errorf("calls: got %q; want %q", f.calls, want)
	}
}

func TestLongestPauseThatMayBeIsTaken(t *testing.T) {
	a, f := newPauser(t)
	f.state = paused
	by := strings.Repeat("b", maxBy)
	wantJSON(t, ask(a, "POST", "/pause?label=default&for=10m&by="+by), 202)
	if want := (proxy.PauseOrder{By: by, For: 10 * time.Minute}); f.order != want {
		t.Errorf("order: got %+v; want %+v", f.order, want)
	}
}

func TestPauseIsRefusedWithTheFittingCode(t *testing.T) {
	for _, c := range []struct {
		method, target string
		err            error
		code           int
		says           string
	}{
		{"POST", "/pause", nil, 400, "label: missing"},
		{"DELETE", "/pause", nil, 400, "label: missing"},
		{"POST", "/pause?label=", nil, 400, "empty"},
		{"GET", "/pause?label=default", nil, 400, `"label"`},
		{"POST", "/pause?label=default&for=abc", nil, 400, `for "abc": not a duration`},
		{"POST", "/pause?label=default&for=0s", nil, 400, `for "0s": not longer than 0`},
		{"POST", "/pause?label=default&for=-1s", nil, 400, `for "-1s"`},
		{"POST", "/pause?label=default&for=10m1s", nil, 400, "longer than 10m0s"},
		{"POST", "/pause?label=default&close=now", nil, 400, `close "now": only quiet`},
		{"POST", "/pause?label=default&move=1", nil, 400, `move "1": only true`},
		{"POST", "/pause?label=default&move=true", proxy.ErrNotPaused, 409, "not paused"},
		{"POST", "/pause?label=default&by=a%0Ab", nil, 400, "not printable"},
		{"POST", "/pause?label=default&by=a%ffb", nil, 400, "not printable"},
		{"POST", "/pause?label=default&by=" + strings.Repeat("x", maxBy+1), nil, 400, "longer than 128 bytes"},
		{"PUT", "/pause?label=default", nil, 405, "PUT"},
		{"POST", "/pause?label=nope", proxy.ErrUnknownLabel, 404, `label "nope": unknown label`},
		{"DELETE", "/pause?label=nope", proxy.ErrUnknownLabel, 404, `label "nope": unknown label`},
		{"POST", "/pause?label=default", &proxy.PausedError{By: "op", Ends: since}, 409, `paused by "op" until 2026-01-02T03:04:05Z`},
		{"DELETE", "/pause?label=default&by=else", &proxy.PausedError{By: "op", Ends: since}, 409, `paused by "op"`},
		{"POST", "/pause?label=default", errors.New("it passes"), 503, "it passes"},
		{"GET", "/pause", errors.New("it passes"), 503, "it passes"},
	} {
		a, f := newPauser(t)
		f.err = c.err
		wantError(t, ask(a, c.method, c.target), c.code, c.says)
	}
	a, _ := newPauser(t)
	a.guard.tokenFile = tokenFile(t, "secret")
	for _, method := range []string{"POST", "DELETE"} {
		wantError(t, ask(a, method, "/pause?label=default"), 401, "bearer token")
	}
	if w := ask(a, "GET", "/pause"); w.Code != 200 {
		t.Errorf("GET without the token: got %d; want 200", w.Code)
	}
}

// TestPausedLabelIsReadyOnlyForWhoHolds: its clients are held, and its live connections go on.
func TestPausedLabelIsReadyOnlyForWhoHolds(t *testing.T) {
	a, data, source := newAdmin(t)
	label := &data.snapshot.Labels[0]
	label.Pause, label.PauseEnds = &paused.Pause, since
	want := func(when, query string, code int, reasons any, line string) {
		t.Helper()
		v := wantJSON(t, ask(a, "GET", "/readyz?"+query), code)
		if !reflect.DeepEqual(v["reasons"], reasons) {
			t.Errorf("%s: got reasons %v; want %v", when, v["reasons"], reasons)
		}
		if got := (&AgentCheck{readiness: a.readiness}).lineFor(query); got != line+"\n" {
			t.Errorf("%s, agent check: got %q; want %q", when, got, line)
		}
	}
	is := []any{"paused: default"}
	want("paused", "", 503, is, "drain up #paused: default")
	want("paused, with hold", "hold=1s", 200, nil, "up ready")
	label.Master = proxy.Master{}
	source.labels[0].State = discovery.None
	want("paused without a master", "", 503, is, "drain up #paused: default")
	want("paused without a master, with hold", "hold=1s", 200, nil, "up ready")
	status := func() map[string]any {
		return wantJSON(t, ask(a, "GET", "/status"), 200)["labels"].([]any)[0].(map[string]any)
	}
	if v := status()["paused"]; !reflect.DeepEqual(v, map[string]any{"by": paused.By, "until": "2026-01-02T03:04:05.678Z"}) {
		t.Errorf("status: got paused %v; want by whom, and its end", v)
	}
	label.Pause, label.Unconfirmed = nil, true
	want("a pause is over and not confirmed", "", 503, is, "drain up #paused: default (a pause is over, and no consistent read has named the master since)")
	if v := status(); v["paused"] != nil || v["reason"] != "a pause is over, and no consistent read has named the master since" {
		t.Errorf("status: got paused %v, reason %v; want no pause, and why clients are held", v["paused"], v["reason"])
	}
	label.Unconfirmed, label.Pause = false, &paused.Pause
	source.labels[0].State, label.Epoch = discovery.Starting, 0
	want("paused at a cold start", "hold=1s", 503, []any{"starting: default"}, "down ready #starting: default")
	label.Master = proxy.Master{Address: addr("10.0.0.1:7800")}
	source.labels[0].State, label.Epoch = discovery.Found, 1
	data.snapshot.Full = true
	want("paused and full", "", 503, []any{"full", "paused: default"}, "down ready #full, paused: default")
}
