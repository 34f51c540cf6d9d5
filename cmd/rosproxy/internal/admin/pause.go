package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/proxy"
)

// Pauser pauses labels, in all generations of the process that still live. Any
// other error than that of the label, or a *proxy.PausedError, is one that passes.
type Pauser interface {
	Pause(ctx context.Context, label string, o proxy.PauseOrder) (proxy.PauseState, error)
	Resume(ctx context.Context, label, by string) (proxy.PauseState, error)
	Pauses(ctx context.Context) ([]proxy.PauseState, error)
}

// Bounds of a pause.
const (
	defaultPause = 30 * time.Second
	maxPause     = 10 * time.Minute
	maxBy        = 128 // bytes
)

// servePauses lists the pauses.
func (a *Server) servePauses(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	pauses, err := a.pauser.Pauses(r.Context())
	if err != nil {
		writePauseError(w, "", err)
		return
	}
	out := []api.Paused{}
	for _, s := range pauses {
		p := api.Paused{PauseState: newPauseState(s)}
		if s.Named.Address.IsValid() {
			p.Master = new(s.Named.Address.String())
		}
		out = append(out, p)
	}
	writeJSON(w, http.StatusOK, out)
}

// servePause pauses a label, or moves the end of a pause.
func (a *Server) servePause(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "label", "for", "close", "by", "move")
	if err == nil {
		err = checkPause(q)
	}
	o := proxy.PauseOrder{By: q.Get("by"), For: defaultPause, CloseQuiet: q.Has("close"), Move: q.Has("move")}
	if err == nil && q.Has("for") {
		o.For, err = parsePauseTime(q.Get("for"))
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	s, err := a.pauser.Pause(r.Context(), q.Get("label"), o)
	if err != nil {
		writePauseError(w, q.Get("label"), err)
		return
	}
	writeJSON(w, http.StatusAccepted, newPauseState(s))
}

// serveResume ends the pause of a label, if there is one.
func (a *Server) serveResume(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "label", "by")
	if err == nil {
		err = checkPause(q)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	s, err := a.pauser.Resume(r.Context(), q.Get("label"), q.Get("by"))
	if err != nil {
		writePauseError(w, q.Get("label"), err)
		return
	}
	writeJSON(w, http.StatusOK, newPauseState(s))
}

// checkPause checks what a pause and its end have in common.
func checkPause(q url.Values) error {
	by := q.Get("by")
	switch {
	case !q.Has("label"):
		return errors.New("label: missing")
	case q.Has("close") && q.Get("close") != "quiet":
		return fmt.Errorf("close %q: only quiet is known", shortened(q.Get("close")))
	case q.Has("move") && q.Get("move") != "true":
		return fmt.Errorf("move %q: only true is known", shortened(q.Get("move")))
	case len(by) > maxBy:
		return fmt.Errorf("by %q: longer than %d bytes", shortened(by), maxBy)
	case strings.ToValidUTF8(by, "") != by || strings.ContainsFunc(by, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("by %q: not printable", by)
	}
	return nil
}

func parsePauseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("for %q: not a duration such as 30s or 2m", shortened(text))
	case d <= 0:
		return 0, fmt.Errorf("for %q: not longer than 0", shortened(text))
	case d > maxPause:
		return 0, fmt.Errorf("for %q: longer than %v", shortened(text), maxPause)
	}
	return d, nil
}

func writePauseError(w http.ResponseWriter, label string, err error) {
	_, isOthers := errors.AsType[*proxy.PausedError](err)
	switch {
	case isOthers, errors.Is(err, proxy.ErrNotPaused):
		writeError(w, http.StatusConflict, fmt.Errorf("label %q: %w", label, err))
	case errors.Is(err, proxy.ErrUnknownLabel):
		writeError(w, http.StatusNotFound, fmt.Errorf("label %q: %w", shortened(label), err))
	default:
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, err)
	}
}

func newPauseState(s proxy.PauseState) api.PauseState {
	out := api.PauseState{Label: s.Label, Paused: s.Until != 0, By: s.By, Active: s.Live, Held: s.Held}
	if out.Paused {
		out.Until = new(rfc3339(s.Ends))
	}
	return out
}
