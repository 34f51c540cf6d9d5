package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
	"github.com/rs/zerolog"
)

// dataPlane is what the admin endpoints ask of the proxy.
type dataPlane interface {
	Snapshot() proxy.Snapshot
	Connections(proxy.Filter) []proxy.ConnInfo
	Kill(label string) (int, error)
}

// masterStatus is what the admin endpoints ask of the source of masters.
type masterStatus interface {
	Labels() []discovery.LabelStatus
	Agents() []discovery.AgentStatus
}

// admin is the admin and health endpoints.
type admin struct {
	data    dataPlane
	source  masterStatus
	machine *drain.Machine
	guard   guard
	build   buildInfo
	begun   time.Time // of the process
	number  int       // its generation
	log     zerolog.Logger
}

const pathConnections = "/connections"

// Bounds of a request.
const (
	maxBody      = 4 << 10
	maxHeader    = 16 << 10
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	keepIdle     = time.Minute
	closingGrace = time.Second // for answers under way at the end
)

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

// handler is the mux: the endpoints, and the same JSON errors around all of them.
func (a *admin) handler() http.Handler {
	drainer := a.machine.Handler().ServeHTTP
	ready := a.serveReady
	routes := map[string]methods{
		"/healthz":      {"GET": a.serveHealth},
		"/readyz":       {"GET": ready},
		"/health":       {"GET": ready},
		"/status":       {"GET": a.serveStatus},
		"/metrics":      {"GET": newMetricsHandler(a)},
		"/drain":        {"GET": drainer, "POST": drainer, "DELETE": drainer},
		pathConnections: {"GET": a.serveConnections, "DELETE": a.serveKill},
	}
	// A page in somebody's browser must not be able to drain the proxy on its machine.
	foreign := http.NewCrossOriginProtection()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := foreign.Check(r); err != nil {
			writeError(w, http.StatusForbidden, err)
			return
		}
		a.route(w, r, routes)
	})
	return http.MaxBytesHandler(h, maxBody)
}

func (a *admin) route(w http.ResponseWriter, r *http.Request, routes map[string]methods) {
	if err := a.guard.admits(r); err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="rosproxy"`)
		writeError(w, http.StatusUnauthorized, err)
		return
	}
	m, ok := routes[r.URL.Path]
	if !ok {
		writeError(w, http.StatusNotFound, fmt.Errorf("no such endpoint: %q", r.URL.Path))
		return
	}
	serve, ok := m[r.Method]
	if !ok && r.Method == http.MethodHead {
		serve, ok = m[http.MethodGet]
	}
	if !ok {
		allow := append(slices.Collect(maps.Keys(m)), http.MethodHead)
		slices.Sort(allow)
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("method %q not allowed", r.Method))
		return
	}
	serve(w, r)
}

// serve answers requests on l until ctx ends, then gives those under way a
// moment to end. It closes l.
func (a *admin) serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       keepIdle,
		MaxHeaderBytes:    maxHeader,

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is an endpoint that we do not have
		ErrorLog:                     stdlog.New(debugWriter{a.log}, "", 0),
	}
	a.log.Info().Stringer("address", l.Addr()).Msg("listener opened")
	served := make(chan error, 1)
	go serveHTTP(s, l, served)
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingGrace)
		defer cancel()
		if s.Shutdown(closing) != nil {
			_ = s.Close() // the moment is over
		}
		err = <-served
	}
	a.log.Info().Stringer("address", l.Addr()).Msg("listener closed")
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin requests: %w", err)
	}
	return nil
}

func serveHTTP(s *http.Server, l net.Listener, served chan<- error) { served <- s.Serve(l) }

// debugWriter takes what net/http says of broken clients: nothing an operator
// must see, and something a client could fill the log with.
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// parseQuery reads a query in which each of known may stand once, with a
// value, and nothing else.
func parseQuery(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%q: unknown parameter", name)
		case len(values) > 1:
			return nil, fmt.Errorf("%s %q: given %d times", name, values[1], len(values))
		case values[0] == "":
			return nil, fmt.Errorf("%s %q: empty", name, values[0])
		}
	}
	return q, nil
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
