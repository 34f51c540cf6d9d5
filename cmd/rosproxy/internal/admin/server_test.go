package admin

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// fakeData is a data plane that says what the test wants.
type fakeData struct {
	mu          sync.Mutex
	snapshot    proxy.Snapshot
	connections []proxy.ConnInfo
	filter      proxy.Filter // the last one asked with
	killed      []string
	held        sync.RWMutex // locked while a test holds up the answers that need the shards
}

// hold makes whoever asks for more than health wait until release.
func (f *fakeData) hold()    { f.held.Lock() }
func (f *fakeData) release() { f.held.Unlock() }

func (f *fakeData) Overview() proxy.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot
}

func (f *fakeData) Snapshot() proxy.Snapshot {
	f.held.RLock()
	defer f.held.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot
}

func (f *fakeData) EachConnection(filter proxy.Filter) iter.Seq[proxy.ConnInfo] {
	f.held.RLock()
	defer f.held.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = filter
	return slices.Values(f.connections)
}

func (f *fakeData) Kill(label string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if label != "" && label != "default" {
		return 0, proxy.ErrUnknownLabel
	}
	f.killed = append(f.killed, label)
	return 7, nil
}

// fakeSource is a source of masters that says what the test wants.
type fakeSource struct {
	labels []discovery.LabelStatus
	agents []discovery.AgentStatus
	places *discovery.DatacentersStatus
}

func (f *fakeSource) Labels() []discovery.LabelStatus { return f.labels }
func (f *fakeSource) Agents() []discovery.AgentStatus { return f.agents }

// Datacenters: nil where there are not several.
func (f *fakeSource) Datacenters() *discovery.DatacentersStatus { return f.places }

// idleTarget drains at once.
type idleTarget struct{}

func (idleTarget) Shutdown(context.Context) (drain.Rest, error) { return drain.Rest{}, nil }
func (idleTarget) Resume() error                                { return nil }
func (idleTarget) Reclaim() error                               { return nil }
func (idleTarget) Active() int                                  { return 0 }

var since = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)

// newAdmin is an admin over fakes: one label with a master, one Consul address.
func newAdmin(t testing.TB) (*Server, *fakeData, *fakeSource) {
	data := &fakeData{snapshot: proxy.Snapshot{Accepting: true, Labels: []proxy.LabelSnapshot{{
		Label:        "default",
		Listen:       "[::]:7800",
		Master:       proxy.Master{Address: netip.MustParseAddrPort("10.0.0.1:7800"), ServiceID: "sync-1", Node: "n1"},
		Epoch:        3,
		Since:        since,
		LastFailover: &proxy.Cut{ID: "f-1", At: since, From: "10.0.0.2:7800", To: "10.0.0.1:7800", Dropped: 12, Fence: 80 * time.Microsecond, Duration: 1200 * time.Microsecond},
		Active:       12,
		Held:         2,
		Accepted:     90,
		BytesUp:      5000,
		BytesDown:    6000,
		Failovers:    1,
		Dial:         proxy.Histogram{Bounds: []float64{0.01, 0.1}, Counts: []uint64{1, 2, 3}, Sum: 4.5},
		Fence:        proxy.Histogram{Bounds: []float64{0.01}, Counts: []uint64{1, 0}, Sum: 0.00008},
		Cut:          proxy.Histogram{Bounds: []float64{0.01}, Counts: []uint64{1, 0}, Sum: 0.0012},
	}}}}
	source := &fakeSource{
		labels: []discovery.LabelStatus{{Label: "default", State: discovery.Found, MastersSeen: 1, Source: discovery.SourceService}},
		agents: []discovery.AgentStatus{{Address: "127.0.0.1:8500", OK: true, LastContact: time.Now(), Index: 123, Errors: 4, IndexResets: 1}},
	}
	a := New(Config{
		Proxy:     data,
		Pauser:    &fakePauser{},
		Source:    source,
		Lifecycle: runLifecycle(t, idleTarget{}),
		Build:     Build{Version: "v1.2.3", Revision: "abc", Go: "go1.26"},
		Started:   time.Now(),
		Log:       zerolog.Nop(),
	})
	return a, data, source
}

func runLifecycle(t testing.TB, target drain.Target) *drain.Lifecycle {
	m := drain.New(drain.Config{Grace: time.Hour, Timeout: 2 * time.Hour}, target, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ran })
	return m
}

// ask sends one request to the endpoints; header lines are NAME: VALUE.
func ask(a *Server, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost"
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, r)
	return w
}

// wantJSON checks code and form and gives the object back.
func wantJSON(t *testing.T, w *httptest.ResponseRecorder, code int) map[string]any {
	t.Helper()
	if w.Code != code {
		t.Errorf("got %d %s; want %d", w.Code, w.Body, code)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q; want application/json", got)
	}
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("decode %q: %v", w.Body, err)
	}
	return v
}

// wantError checks that the answer is an error that says all of says.
func wantError(t *testing.T, w *httptest.ResponseRecorder, code int, says ...string) {
	t.Helper()
	msg, _ := wantJSON(t, w, code)["error"].(string)
	if msg == "" {
		t.Errorf("got %s; want an error", w.Body)
	}
	for _, s := range says {
		if !strings.Contains(msg, s) {
			t.Errorf("got error %q; want it to say %q", msg, s)
		}
	}
}

func TestHealthzIsUpWhateverTheState(t *testing.T) {
	a, _, source := newAdmin(t)
	source.labels[0].State = discovery.Starting
	a.lifecycle.Start(drain.Options{})
	wantJSON(t, ask(a, "GET", "/healthz"), 200)
}

func TestErrorsAreJSONWithTheFittingCode(t *testing.T) {
	a, _, _ := newAdmin(t)
	for _, c := range []struct {
		method, target string
		code           int
		says           string
	}{
		{"GET", "/nope", 404, `"/nope"`},
		{"POST", "/nope", 404, `"/nope"`},
		{"GET", "/drain/", 404, `"/drain/"`},
		{"POST", "/status", 405, "POST"},
		{"DELETE", "/healthz", 405, "DELETE"},
		{"PUT", "/drain", 405, "PUT"},
		{"POST", "/connections", 405, "POST"},
		{"GET", "/status?x=1", 400, `"x"`},
		{"GET", "/connections?x=1", 400, `"x"`},
		{"GET", "/connections?limit=0", 400, `limit "0"`},
		{"GET", "/connections?limit=-1", 400, `limit "-1"`},
		{"GET", "/connections?limit=ten", 400, `limit "ten"`},
		{"GET", "/connections?limit=1&limit=2", 400, "given 2 times"},
		{"GET", "/connections?label=", 400, "empty"},
		{"GET", "/connections?label=nope", 404, `label "nope": unknown label`},
		{"GET", "/connections?label=%zz", 400, "query"},
		{"DELETE", "/connections?label=nope", 404, `label "nope": unknown label`},
		{"DELETE", "/connections?label=", 400, "empty"},
		{"DELETE", "/connections?limit=1", 400, `"limit"`},
		{"GET", "/readyz?draining=500", 400, `draining "500": neither 404 nor 503`},
		{"GET", "/health?draining=", 400, `draining "": neither 404 nor 503`},
		{"GET", "/readyz?draining=404&draining=503", 400, "given twice"},
		{"POST", "/drain?grace=abc", 400, `grace "abc"`},
		{"POST", "/drain?nope=1", 400, "nope"},
	} {
		t.Run(c.method+c.target, func(t *testing.T) {
			w := ask(a, c.method, c.target)
			wantError(t, w, c.code, c.says)
			if allow := w.Header().Get("Allow"); (c.code == 405) != (allow != "") {
				t.Errorf("got Allow %q with %d; want it with 405 alone", allow, c.code)
			}
		})
	}
}

func TestHeadIsAnsweredLikeGet(t *testing.T) {
	a, _, _ := newAdmin(t)
	for _, target := range []string{"/healthz", "/readyz", "/health", "/status", "/connections", "/metrics", "/drain"} {
		if w := ask(a, "HEAD", target); w.Code != 200 {
			t.Errorf("HEAD %s: got %d; want 200", target, w.Code)
		}
	}
}

func TestTokenIsRequiredToChangeAndToSeeClients(t *testing.T) {
	path := tokenFile(t, "secret\n")
	for _, c := range []struct {
		method, target string
		guarded        bool
	}{
		{"GET", "/healthz", false},
		{"GET", "/readyz", false},
		{"GET", "/health", false},
		{"GET", "/status", false},
		{"GET", "/metrics", false},
		{"GET", "/drain", false},
		{"GET", "/pause", false},
		{"GET", "/connections", true},
		{"HEAD", "/connections", true},
		{"DELETE", "/connections", true},
		{"POST", "/drain", true},
		{"DELETE", "/drain", true},
		{"POST", "/pause?label=default", true},
		{"DELETE", "/pause?label=default", true},
		{"POST", "/nope", true},
		{"PUT", "/status", true},
	} {
		t.Run(c.method+c.target, func(t *testing.T) {
			a, data, _ := newAdmin(t)
			a.guard.tokenFile = path
			for _, header := range []string{"X: y", "Authorization: Bearer", "Authorization: Bearer wrong", "Authorization: Basic secret", "Authorization: secret"} {
				w := ask(a, c.method, c.target, header)
				if refused := w.Code == http.StatusUnauthorized; refused != c.guarded {
					t.Errorf("%s: got %d; want refused %t", header, w.Code, c.guarded)
				}
				if c.guarded {
					wantError(t, w, 401, "bearer token")
					if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
						t.Errorf("got WWW-Authenticate %q; want Bearer", w.Header().Get("WWW-Authenticate"))
					}
				}
			}
			if len(data.killed) > 0 || a.lifecycle.Draining() {
				t.Error("a refused request had an effect")
			}
			if w := ask(a, c.method, c.target, "Authorization: bearer secret"); w.Code == http.StatusUnauthorized {
				t.Errorf("with the token: got %d %s; want it to pass", w.Code, w.Body)
			}
		})
	}
}

func TestRotatedTokenCountsAtOnceAndARemovedOneLetsNobodyIn(t *testing.T) {
	a, _, _ := newAdmin(t)
	a.guard.tokenFile = tokenFile(t, "old")
	if err := os.WriteFile(a.guard.tokenFile, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, ask(a, "DELETE", "/connections", "Authorization: Bearer old"), 401, "wrong")
	wantJSON(t, ask(a, "DELETE", "/connections", "Authorization: Bearer new"), 200)
	if err := os.Remove(a.guard.tokenFile); err != nil {
		t.Fatal(err)
	}
	wantError(t, ask(a, "DELETE", "/connections", "Authorization: Bearer new"), 401, "token file")
	wantError(t, ask(a, "DELETE", "/connections", "Authorization: Bearer "), 401, "token file")
}

func TestPageInABrowserCannotDrain(t *testing.T) {
	a, _, _ := newAdmin(t)
	wantError(t, ask(a, "POST", "/drain", "Sec-Fetch-Site: cross-site"), 403)
	wantError(t, ask(a, "POST", "/drain", "Origin: https://evil.example"), 403)
	if a.lifecycle.Draining() {
		t.Error("got draining; want serving")
	}
}

func TestDrainEndpoint(t *testing.T) {
	a, _, _ := newAdmin(t)
	if v := wantJSON(t, ask(a, "GET", "/drain"), 200); v["state"] != "serving" {
		t.Errorf("got %v; want serving", v)
	}
	if v := wantJSON(t, ask(a, "POST", "/drain"), 202); v["state"] != "draining" || v["accepting"] != true {
		t.Errorf("got %v; want draining, accepting", v)
	}
	if v := wantJSON(t, ask(a, "DELETE", "/drain"), 200); v["state"] != "serving" {
		t.Errorf("got %v; want serving", v)
	}
	wantJSON(t, ask(a, "POST", "/drain?exit=true"), 202)
	wantError(t, ask(a, "DELETE", "/drain"), 409, "stopping")
}

func TestStatusHasTheContractsShape(t *testing.T) {
	a, _, _ := newAdmin(t)
	v := wantJSON(t, ask(a, "GET", "/status"), 200)
	if v["version"] != "v1.2.3" || v["state"] != "serving" || v["pid"] != float64(os.Getpid()) || v["uptime_s"].(float64) < 0 {
		t.Errorf("got %v", v)
	}
	label := v["labels"].([]any)[0].(map[string]any)
	got, err := json.Marshal(label)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"accepted_total":90,"active":12,"bytes_down_total":6000,"bytes_up_total":5000,"failing":[],"failovers_total":1,"held":2,"label":"default",` +
		`"last_failover":{"at":"2026-01-02T03:04:05.678Z","cut_ms":1.2,"dropped":12,"fence_us":80,"from":"10.0.0.2:7800","id":"f-1","to":"10.0.0.1:7800"},` +
		`"listen":"[::]:7800","lost_since":null,` +
		`"master":{"address":"10.0.0.1:7800","epoch":3,"node":"n1","service_id":"sync-1","since":"2026-01-02T03:04:05.678Z"},"masters_seen":1,"paused":null,"reason":"","source":"service"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	consul := v["consul"].([]any)[0].(map[string]any)
	if consul["address"] != "127.0.0.1:8500" || consul["ok"] != true || consul["index"] != 123.0 || consul["error"] != "" || consul["last_contact_s"].(float64) < 0 {
		t.Errorf("got consul %v", consul)
	}
}

func TestStatusWithoutMasterFailoverAndConsul(t *testing.T) {
	a, data, source := newAdmin(t)
	data.snapshot.Labels[0].Master = proxy.Master{}
	data.snapshot.Labels[0].LastFailover = nil
	source.agents = nil
	v := wantJSON(t, ask(a, "GET", "/status"), 200)
	label := v["labels"].([]any)[0].(map[string]any)
	for _, name := range []string{"master", "last_failover"} {
		if got, ok := label[name]; !ok || got != nil {
			t.Errorf("got %s %v, present %t; want null", name, got, ok)
		}
	}
	if got, ok := v["consul"].([]any); !ok || len(got) != 0 {
		t.Errorf("got consul %v; want []", v["consul"])
	}
	source.agents = []discovery.AgentStatus{{Address: "c:1", Error: "refused"}}
	v = wantJSON(t, ask(a, "GET", "/status"), 200)
	if c := v["consul"].([]any)[0].(map[string]any); c["last_contact_s"] != nil || c["error"] != "refused" || c["ok"] != false {
		t.Errorf("got %v; want no contact, and the error", c)
	}
}

func TestConnectionsAreListed(t *testing.T) {
	a, data, _ := newAdmin(t)
	if got := ask(a, "GET", "/connections").Body.String(); got != "[]\n" {
		t.Errorf("got %q; want an empty array", got)
	}
	data.connections = []proxy.ConnInfo{
		{ID: 1, Label: "default", Client: "192.0.2.1:1", Master: "10.0.0.1:7800", Epoch: 3, Age: 1500 * time.Millisecond, BytesUp: 5, BytesDown: 6, State: "relaying"},
		{ID: 2, Label: "default", Client: "192.0.2.2:2", State: "held"},
	}
	w := ask(a, "GET", "/connections?label=default&limit=2")
	const want = `[{"id":1,"label":"default","client":"192.0.2.1:1","source":"","master":"10.0.0.1:7800","epoch":3,"age_s":1.5,"bytes_up":5,"bytes_down":6,"state":"relaying"},
{"id":2,"label":"default","client":"192.0.2.2:2","source":"","master":"","epoch":0,"age_s":0,"bytes_up":0,"bytes_down":0,"state":"held"}]
`
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d %s; want 200 %s", w.Code, w.Body, want)
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("got invalid JSON %s", w.Body)
	}
	if want := (proxy.Filter{Label: "default", Limit: 2}); data.filter != want {
		t.Errorf("asked with %+v; want %+v", data.filter, want)
	}
}

func TestDeleteConnectionsAnswersHowMany(t *testing.T) {
	a, data, _ := newAdmin(t)
	for _, target := range []string{"/connections", "/connections?label=default"} {
		if v := wantJSON(t, ask(a, "DELETE", target), 200); v["closed"] != 7.0 {
			t.Errorf("got %v; want 7 closed", v)
		}
	}
	if len(data.killed) != 2 || data.killed[0] != "" || data.killed[1] != "default" {
		t.Errorf("killed %q; want all, then default", data.killed)
	}
}

// tokenFile writes a token file.
func tokenFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPageIsServedAtTheRoot(t *testing.T) {
	a, _, _ := newAdmin(t)
	w := ask(a, "GET", "/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<title>rosproxy</title>") {
		t.Errorf("GET /: got %d, %.200s; want the page", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q; want %q", name, got, want)
		}
	}
	if w := ask(a, "POST", "/"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: got %d; want 405", w.Code)
	}
}
