package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxDuration is the longest grace or timeout that a request may name.
const MaxDuration = 30 * 24 * time.Hour

// Handler is the machine's face: GET shows the State, POST starts a drain
// (202), DELETE undoes it (200; 409 when it ends with the process; 500 when
// the listeners cannot be opened again). A body is not read.
func (m *Machine) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			m.serveState(w, r)
		case http.MethodPost:
			m.serveStart(w, r)
		case http.MethodDelete:
			m.serveUndo(w, r)
		default:
			w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
			writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s not allowed", r.Method))
		}
	})
}

func (m *Machine) serveState(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusOK, m.State())
}

func (m *Machine) serveStart(w http.ResponseWriter, r *http.Request) {
	o, err := parseOptions(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusAccepted, m.Start(o))
}

func (m *Machine) serveUndo(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	s, err := m.Undo()
	switch {
	case errors.Is(err, ErrStopping):
		writeError(w, http.StatusConflict, fmt.Errorf("undo drain: %w", err))
	case err != nil:
		writeError(w, http.StatusInternalServerError, fmt.Errorf("undo drain: %w", err))
	default:
		writeJSON(w, http.StatusOK, s)
	}
}

// parseOptions reads the Options of a drain from a query.
func parseOptions(query string) (Options, error) {
	q, err := parseQuery(query, "grace", "timeout", "exit")
	if err != nil {
		return Options{}, err
	}
	var o Options
	if o.Grace, err = parseDuration(q, "grace"); err != nil {
		return Options{}, err
	}
	if o.Timeout, err = parseDuration(q, "timeout"); err != nil {
		return Options{}, err
	}
	if q.Has("exit") {
		if o.Exit, err = strconv.ParseBool(q.Get("exit")); err != nil {
			return Options{}, fmt.Errorf("exit %q: neither true nor false", q.Get("exit"))
		}
	}
	return o, nil
}

// parseQuery reads a query in which each of known may stand once, and nothing else.
func parseQuery(query string, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s %q: unknown parameter; known here: %s", name, values[0], list(known))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%s %q: given %d times", name, values[1], len(values))
		}
	}
	return q, nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
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
	case d > MaxDuration:
		return nil, fmt.Errorf("%s %q: longer than %v", name, q.Get(name), MaxDuration)
	}
	return &d, nil
}

func writeError(w http.ResponseWriter, code int, err error) {
	writeJSON(w, code, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody left to tell
}
