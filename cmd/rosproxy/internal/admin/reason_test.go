package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// newLost is an admin over labels that have lost their masters, for the given reasons.
func newLost(t testing.TB, whys ...string) (*Server, *fakeData, *fakeSource) {
	a, data, source := newAdmin(t)
	source.labels, data.snapshot.Labels = nil, nil
	for i, why := range whys {
		name := string(rune('a' + i))
		source.labels = append(source.labels, discovery.LabelStatus{Label: name, State: discovery.None, Why: why})
		data.snapshot.Labels = append(data.snapshot.Labels, proxy.LabelSnapshot{Label: name, Epoch: 2, LostSince: since, LostFor: time.Second})
	}
	return a, data, source
}

func TestStatusShowsTheLeaderKeyAndWhyThereIsNoMaster(t *testing.T) {
	a, _, source := newLost(t, "no session holds the key", "")
	source.labels[0].Source = discovery.SourceLeaderKey
	source.labels[0].Leader = &discovery.LeaderStatus{Key: "service/pg/leader", Holder: "pg1", Locked: true, ModifyIndex: 9}
	source.labels[1].Source = discovery.SourceStatic
	labels := wantJSON(t, ask(a, "GET", "/status"), 200)["labels"].([]any)
	first, second := labels[0].(map[string]any), labels[1].(map[string]any)
	leader, err := json.Marshal(first["leader"])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"holder":"pg1","key":"service/pg/leader","locked":true,"modify_index":9,"ready":false}`; string(leader) != want {
		t.Errorf("leader: got %s; want %s", leader, want)
	}
	if first["source"] != "leader-key" || first["reason"] != "no session holds the key" || first["lost_since"] != "2026-01-02T03:04:05.678Z" {
		t.Errorf("got %v; want source, reason and lost_since of a lost leader key", first)
	}
	if _, there := second["leader"]; there || second["source"] != "static" || second["reason"] != "" {
		t.Errorf("got %v; want a static source, no leader and no reason", second)
	}
	source.labels[0].Leader.Ready = true
	if got := a.status(time.Now()).Labels[0].Leader; !got.Ready {
		t.Errorf("got leader %+v; want it ready", got)
	}
}

// TestStatusSaysWhichStateLeavesALabelWithoutAMaster, where no more is known.
func TestStatusSaysWhichStateLeavesALabelWithoutAMaster(t *testing.T) {
	a, _, source := newLost(t, "")
	for state, want := range map[discovery.State]string{
		discovery.Conflict: "conflict", discovery.Unreachable: "consul unreachable", discovery.Inactive: "no active data centre",
		discovery.None: "", discovery.Starting: "",
	} {
		source.labels[0].State, source.labels[0].Why = state, ""
		if got := a.status(time.Now()).Labels[0].Reason; got != want {
			t.Errorf("%s: got reason %q; want %q", state, got, want)
		}
		source.labels[0].Why = "more"
		if got := a.status(time.Now()).Labels[0].Reason; got != "more" {
			t.Errorf("%s: got reason %q; want what more is known", state, got)
		}
	}
}

func TestStatusSaysWhyTheLastFailoverWasToNone(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.snapshot.Labels[0].LastFailover = &proxy.Cut{ID: "f", To: "", Reason: "conflict"}
	if got := a.status(time.Now()).Labels[0].LastFailover.Reason; got != "conflict" {
		t.Errorf("got reason %q; want conflict", got)
	}
}

// TestReasonOfALabelThatStillHasItsMasterIsNotShown: discovery says that it is
// gone before the data plane has let go of it.
func TestReasonOfALabelThatStillHasItsMasterIsNotShown(t *testing.T) {
	a, data, _ := newLost(t, "gone")
	data.snapshot.Labels[0].Master = proxy.Master{Address: addr("10.0.0.1:1")}
	if got := a.status(time.Now()).Labels[0].Reason; got != "" {
		t.Errorf("/status: got reason %q; want none", got)
	}
	if got := wantJSON(t, ask(a, "GET", "/readyz"), 503)["why"]; got != nil {
		t.Errorf("/readyz: got why %v; want none", got)
	}
}

func TestReadyzSaysWhyBesideTheReasons(t *testing.T) {
	a, data, source := newLost(t, "the check of sync-1 is critical", "", "the key cannot be read")
	source.labels[2].State = discovery.Starting
	data.snapshot.Labels[2].LostSince, data.snapshot.Labels[2].Epoch = time.Time{}, 0
	for query, want := range map[string]struct {
		code    int
		reasons []any
		why     any
	}{
		"": {503, []any{"no master: a", "no master: b", "starting: c"},
			map[string]any{"a": "the check of sync-1 is critical", "c": "the key cannot be read"}},
		"?label=b":         {503, []any{"no master: b"}, nil},
		"?label=a&hold=1m": {200, nil, map[string]any{"a": "the check of sync-1 is critical"}},
	} {
		v := wantJSON(t, ask(a, "GET", "/readyz"+query), want.code)
		if got, _ := v["reasons"].([]any); !reflect.DeepEqual(got, want.reasons) {
			t.Errorf("%s: got reasons %v; want %v", query, got, want.reasons)
		}
		if !reflect.DeepEqual(v["why"], want.why) {
			t.Errorf("%s: got why %v; want %v", query, v["why"], want.why)
		}
	}
}

func TestLoopSaysWhatItIs(t *testing.T) {
	a, data, source := newLost(t, "")
	source.labels[0].State, data.snapshot.Labels[0].Loop = discovery.Found, true
	const want = "the master is one of our own listeners"
	if v := wantJSON(t, ask(a, "GET", "/readyz"), 503); !reflect.DeepEqual(v["why"], map[string]any{"a": want}) {
		t.Errorf("/readyz: got %v; want why %q", v, want)
	}
	if got := a.status(time.Now()).Labels[0].Reason; got != want {
		t.Errorf("/status: got reason %q; want %q", got, want)
	}
}

func TestAgentCheckSaysWhyWhereThereIsRoom(t *testing.T) {
	long := strings.Repeat("w", 60)
	for _, c := range []struct {
		name string
		whys []string
		want string
	}{
		{"known", []string{"the lock is lost"}, "down ready #no master: a (the lock is lost)\n"},
		{"not known", []string{""}, "down ready #no master: a\n"},
		{"of one of two", []string{"", "the lock is lost"}, "down ready #no master: a, no master: b (the lock is lost)\n"},
		{"of two, too long", []string{long, long}, "down ready #no master: a, no master: b\n"},
		{"of one, too long", []string{long + long}, "down ready #" + ("no master: a (" + long + long)[:maxAgentReason] + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _, _ := newLost(t, c.whys...)
			if got := agentSays(a, ""); got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
}

// TestWhatCameFromConsulIsShownInOneShortLine: somebody registers what they
// want, and an operator's terminal, browser or balancer shows it.
func TestWhatCameFromConsulIsShownInOneShortLine(t *testing.T) {
	for _, text := range []string{
		"one\nup ready\n", "red \x1b[31m bell \a", "bytes \xff\xfe", "reversed \u202e txt", "separated \u2028 lines",
		strings.Repeat("語", 5000), strings.Repeat("x", 255) + "語", strings.Repeat("\xff", 5000),
	} {
		a, _, source := newLost(t, text)
		source.labels[0].Leader = &discovery.LeaderStatus{Key: "k", Holder: text}
		l := a.status(time.Now()).Labels[0]
		r, err := a.readiness(probe{})
		if err != nil {
			t.Fatal(err)
		}
		for where, shown := range map[string]string{"reason": l.Reason, "holder": l.Leader.Holder, "why": r.Why["a"]} {
			bad := strings.ContainsFunc(shown, func(c rune) bool { return !unicode.IsPrint(c) })
			if shown == "" || len(shown) > maxForeign || !utf8.ValidString(shown) || bad {
				t.Errorf("%s of %.20q: got %d bytes, %.40q; want one printable line of at most %d", where, text, len(shown), shown, maxForeign)
			}
		}
		wantShortLine(t, agentSays(a, ""))
	}
}

func TestStatusSaysWhyAReportCannotBeWritten(t *testing.T) {
	a, _, source := newLost(t, "", "")
	source.labels[0].Report = &discovery.ReportStatus{Key: "rosproxy/fence/p1-1-a", Obeyed: 9, Error: "denied:\n\x1b[31m" + strings.Repeat("x", 5000)}
	labels := wantJSON(t, ask(a, "GET", "/status"), 200)["labels"].([]any)
	report, _ := labels[0].(map[string]any)["fence_report"].(map[string]any)
	if report["key"] != "rosproxy/fence/p1-1-a" || report["obeyed"] != 9.0 || report["lease_s"] != 0.0 {
		t.Errorf("got report %v; want its key, its index and no lease", report)
	}
	if text, _ := report["error"].(string); !strings.HasPrefix(text, "denied: ") || len(text) > maxForeign || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		t.Errorf("got error %q; want it in one printable line of at most %d bytes", text, maxForeign)
	}
	if _, there := labels[1].(map[string]any)["fence_report"]; there {
		t.Error("got a report of a label that has none")
	}
}
