package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/drain"
)

func newDrainState(s drain.State) api.DrainState {
	out := api.DrainState{State: s.Phase, Active: s.Active, Accepting: s.Accepting}
	if s.Phase != drain.Serving {
		out.Started, out.Deadline = new(rfc3339(s.Started)), new(rfc3339(s.Deadline))
	}
	return out
}

func (a *Server) serveDrain(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusOK, newDrainState(a.lifecycle.State()))
}

// serveStartDrain starts a drain; its body is not read.
func (a *Server) serveStartDrain(w http.ResponseWriter, r *http.Request) {
	o, err := parseOptions(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	a.log.Info().Str("peer", peerOf(r)).Bool("exit", o.Exit).Msg("drain asked for")
	writeJSON(w, http.StatusAccepted, newDrainState(a.lifecycle.Start(o)))
}

// serveUndoDrain answers 409 when the drain ends with the process, and 500
// when the listeners cannot be opened again.
func (a *Server) serveUndoDrain(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	a.log.Info().Str("peer", peerOf(r)).Msg("end of the drain asked for")
	s, err := a.lifecycle.Undo()
	switch {
	case errors.Is(err, drain.ErrStopping):
		writeError(w, http.StatusConflict, fmt.Errorf("undo drain: %w", err))
	case err != nil:
		writeError(w, http.StatusInternalServerError, fmt.Errorf("undo drain: %w", err))
	default:
		writeJSON(w, http.StatusOK, newDrainState(s))
	}
}

// parseOptions reads the options of a drain from a query.
func parseOptions(r *http.Request) (drain.Options, error) {
	q, err := parseQuery(r, "grace", "timeout", "exit")
	if err != nil {
		return drain.Options{}, err
	}
	var o drain.Options
	if o.Grace, err = parseDuration(q, "grace"); err != nil {
		return drain.Options{}, err
	}
	if o.Timeout, err = parseDuration(q, "timeout"); err != nil {
		return drain.Options{}, err
	}
	if q.Has("exit") {
		if o.Exit, err = strconv.ParseBool(q.Get("exit")); err != nil {
			return drain.Options{}, fmt.Errorf("exit %q: neither true nor false", q.Get("exit"))
		}
	}
	return o, nil
}

// parseDuration gives nil when q has no name.
func parseDuration(q url.Values, name string) (*time.Duration, error) {
	if !q.Has(name) {
		return nil, nil
	}
	d, err := time.ParseDuration(q.Get(name))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %q: not a duration such as 30s or 5m", name, q.Get(name))
	case d < 0:
		return nil, fmt.Errorf("%s %q: negative", name, q.Get(name))
	case d > drain.MaxDuration:
		return nil, fmt.Errorf("%s %q: longer than %v", name, q.Get(name), drain.MaxDuration)
	}
	return &d, nil
}
