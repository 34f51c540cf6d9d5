package client

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// pauses is an instance with the label a that answers the first request of each kind with code.
type pauses struct {
	code int

	mu    sync.Mutex
	asked []string // methods
	by    string
}

func (p *pauses) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/status" {
		fmt.Fprint(w, strings.Replace(healthy, `"labels":[]`, `"labels":[{"label":"a"}]`, 1))
		return
	}
	p.asked = append(p.asked, r.Method)
	if p.times(r.Method) == 1 {
		w.WriteHeader(p.code)
		fmt.Fprint(w, `{"error":"not now"}`)
		return
	}
	if r.Method == "POST" {
		p.by = r.URL.Query().Get("by")
	}
	answer := fmt.Sprintf(`{"label":"a","paused":%t,"by":%q,"until":"2026-01-02T03:04:05Z","master":"10.0.0.1:5432"}`, r.Method != "DELETE", p.by)
	if r.Method == "GET" {
		answer = "[" + answer + "]"
	}
	fmt.Fprint(w, answer)
}

// times is how often method was asked for. mu is held.
func (p *pauses) times(method string) int {
	return strings.Count(strings.Join(p.asked, " "), method)
}

// TestRefusalThatPassesIsAskedAgain: as long as an upgrade takes, an instance answers 503.
func TestRefusalThatPassesIsAskedAgain(t *testing.T) {
	for code, want := range map[int]int{http.StatusServiceUnavailable: exitDone, http.StatusConflict: exitNotDone, http.StatusNotFound: exitNotDone} {
		p := &pauses{code: code}
		c := config.Client{
			Admin: []config.Endpoint{fake(t, p.ServeHTTP)},
			Pause: config.PauseRequest{Label: "a", For: time.Minute, Wait: 30 * time.Second, Command: []string{"true"}},
		}
		got, _, stderr := run(t, config.Pause, c)
		again := 1
		if want == exitDone {
			again = 2
		}
		if got != want || p.times("POST") != again || want == exitDone && p.times("DELETE") != again {
			t.Errorf("%d: got exit %d after %v, %q; want %d, each asked %d times to pause and resume", code, got, p.asked, stderr, want, again)
		}
	}
}

// TestResumeIsAskedAgainOnlyWhereTheRefusalPasses.
func TestResumeIsAskedAgainOnlyWhereTheRefusalPasses(t *testing.T) {
	for code, want := range map[int]int{http.StatusServiceUnavailable: exitDone, http.StatusConflict: exitNotDone, http.StatusNotFound: exitNotDone} {
		p := &pauses{code: code}
		got, _, stderr := run(t, config.Resume, config.Client{Admin: []config.Endpoint{fake(t, p.ServeHTTP)}, Pause: config.PauseRequest{Label: "a"}})
		if isAgain := p.times("DELETE") == 2; got != want || isAgain != (want == exitDone) {
			t.Errorf("%d: got exit %d after %v, %q; want %d", code, got, p.asked, stderr, want)
		}
	}
}
