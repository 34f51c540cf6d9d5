package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// TestWaitForADrainKnowsTheDeadFromTheSilent: nobody may listen for a moment, and
// an instance may be slow.
func TestWaitForADrainKnowsTheDeadFromTheSilent(t *testing.T) {
	refused := fmt.Errorf("GET /drain: %w", syscall.ECONNREFUSED)
	removed := fmt.Errorf("GET /drain: %w", syscall.ENOENT)
	silent := errors.New("GET /drain: no answer within 10s")
	for _, c := range []struct {
		err          error
		heard        time.Duration
		gone, failed bool
	}{
		{refused, 0, false, false},
		{refused, 2 * goneFor, true, false},
		{removed, 2 * goneFor, true, false},
		{silent, 2 * goneFor, false, false},
		{silent, 2 * silentFor, false, true},
	} {
		var stderr bytes.Buffer
		s := &session{stderr: &stderr, progress: newProgress(io.Discard, nil, true)}
		w := &drainWait{answer: &answer[*draining]{from: &instance{name: "a:1"}, value: &draining{}}, heard: time.Now().Add(-c.heard)}
		w.take(s, nil, c.err)
		if w.answer.value.gone != c.gone || s.failed != c.failed || (w.answer.err != nil) != c.failed {
			t.Errorf("%v, heard %v ago: got gone %v, failed %v; want %v, %v", c.err, c.heard, w.answer.value.gone, s.failed, c.gone, c.failed)
		}
	}
}

// TestProcessThatWasReplacedIsGone: at its address is another one, which serves.
func TestProcessThatWasReplacedIsGone(t *testing.T) {
	pid := 7
	at := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "POST":
			_, _ = io.WriteString(w, `{"state":"draining","active":1}`)
			pid = 8
		case r.URL.Path == "/drain":
			_, _ = io.WriteString(w, `{"state":"serving"}`)
		default:
			_, _ = io.WriteString(w, strings.Replace(healthy, `"pid":7`, fmt.Sprintf(`"pid":%d`, pid), 1))
		}
	})
	code, stdout, stderr := run(t, config.Drain, config.Client{Admin: []config.Endpoint{at}, Drain: config.DrainRequest{Wait: true}})
	if code != exitDone || !strings.Contains(stdout, "gone") {
		t.Errorf("got %d, %q, %q; want it gone", code, stdout, stderr)
	}
	code, stdout, _ = run(t, config.Drain, config.Client{Admin: []config.Endpoint{at}, JSON: true, Drain: config.DrainRequest{Wait: true}})
	if code != exitNotDone || !strings.Contains(stdout, "serves again") {
		t.Errorf("the same process: got %d, %q; want that it serves again", code, stdout)
	}
}
