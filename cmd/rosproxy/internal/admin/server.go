// Package admin answers whoever looks after the process: the admin and health
// endpoints over HTTP, and HAProxy's agent checks.
package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	stdlog "log"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/admin/page"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// DataPlane is what the admin endpoints ask of the proxy.
type DataPlane interface {
	Overview() proxy.Snapshot // what health needs: it waits for nobody
	Snapshot() proxy.Snapshot
	EachConnection(proxy.Filter) iter.Seq[proxy.ConnInfo]
	Kill(label string) (int, error)
}

// MasterStatus is what the admin endpoints ask of the source of masters.
type MasterStatus interface {
	Labels() []discovery.LabelStatus
	Agents() []discovery.AgentStatus
	Datacenters() *discovery.DatacentersStatus
}

// Config of a Server.
type Config struct {
	Proxy          DataPlane
	Pauser         Pauser
	Source         MasterStatus
	Lifecycle      *drain.Lifecycle
	TokenFile      string         // of the bearer token; empty: none is asked for
	Hosts          []string       // names by which the endpoints may be asked where no token is; those of the loopback may always
	Events         *events.Recent // nil: none are shown
	Build          Build
	Started        time.Time     // when the process began
	Generation     int           // 1 for the first process, one more with each upgrade
	FailedUpgrades func() uint64 // of this process; nil: there are none
	Log            zerolog.Logger
}

// Build is what the build says of the program.
type Build struct {
	Version  string // with the revision, unless that has the version's tag
	Revision string // of the source; empty: not known
	Go       string
}

func (b Build) String() string {
	return fmt.Sprintf("%s %s %s/%s", b.Version, b.Go, runtime.GOOS, runtime.GOARCH)
}

// Server is the admin and health endpoints.
type Server struct {
	data           DataPlane
	pauser         Pauser
	source         MasterStatus
	lifecycle      *drain.Lifecycle
	guard          guard
	refusals       refusals
	events         *events.Recent
	build          Build
	started        time.Time
	generation     int
	failedUpgrades func() uint64
	log            zerolog.Logger

	shared func() http.Handler // one for all listeners, so that what it bounds is bounded once
}

// New makes a Server, which does nothing before Serve.
func New(c Config) *Server {
	g := guard{tokenFile: c.TokenFile}
	for _, h := range c.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(h))
	}
	if c.FailedUpgrades == nil {
		c.FailedUpgrades = func() uint64 { return 0 }
	}
	s := &Server{
		data: c.Proxy, pauser: c.Pauser, source: c.Source, lifecycle: c.Lifecycle, guard: g, refusals: refusals{log: c.Log},
		events: c.Events, build: c.Build, started: c.Started, generation: c.Generation, failedUpgrades: c.FailedUpgrades, log: c.Log,
	}
	s.shared = sync.OnceValue(s.handler)
	return s
}

// Paths that are not all alike.
const (
	pathHealthz     = "/healthz"
	pathReadyz      = "/readyz"
	pathHealth      = "/health"
	pathConnections = "/connections"
)

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

// routes are the endpoints.
func (a *Server) routes() map[string]methods {
	return map[string]methods{
		"/":             {"GET": page.New(a.guard.tokenFile != "").ServeHTTP},
		pathHealthz:     {"GET": a.serveHealth},
		pathReadyz:      {"GET": a.serveReady},
		pathHealth:      {"GET": a.serveReady},
		"/status":       {"GET": newBounded(a.serveStatus).ServeHTTP},
		"/metrics":      {"GET": newBounded(newMetricsHandler(a)).ServeHTTP},
		"/pause":        {"GET": a.servePauses, "POST": a.servePause, "DELETE": a.serveResume},
		"/drain":        {"GET": a.serveDrain, "POST": a.serveStartDrain, "DELETE": a.serveUndoDrain},
		pathConnections: {"GET": newBounded(a.serveConnections).ServeHTTP, "DELETE": a.serveKill},
	}
}

// handler is the mux: the endpoints, and the same JSON errors around all of them.
func (a *Server) handler() http.Handler {
	routes := a.routes()
	// A page in somebody's browser must not be able to drain the proxy on its machine.
	foreign := http.NewCrossOriginProtection()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setBusy(r, true)
		defer setBusy(r, false)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := foreign.Check(r); err != nil {
			a.refusals.note(crossSite, err, r)
			writeError(w, http.StatusForbidden, err)
			return
		}
		if err := a.guard.admits(r); err != nil {
			a.refuse(w, r, err)
			return
		}
		route(w, r, routes)
	})
	return http.MaxBytesHandler(h, maxBody)
}

func (a *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if _, ok := errors.AsType[errHost](err); ok {
		a.refusals.note(foreignHost, err, r)
		writeError(w, http.StatusForbidden, err)
		return
	}
	a.refusals.note(wrongToken, err, r)
	w.Header().Set("WWW-Authenticate", `Bearer realm="rosproxy"`)
	writeError(w, http.StatusUnauthorized, err)
}

func route(w http.ResponseWriter, r *http.Request, routes map[string]methods) {
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

// Serve answers requests on l until ctx ends, then gives those under way a
// moment to end. It closes l.
func (a *Server) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           a.shared(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       keepIdle,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withPeer,

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
