package consultest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/internal/ports"
)

// Config says how a double is to be. Its zero value is a good one.
type Config struct {
	Addr          string        // IPv4 HOST:PORT to listen on; empty: a free port of 127.0.0.1
	Node          string        // name of the agent's own node; empty: "consultest"
	Datacenter    string        // empty: "dc1"
	Mirrors       []string      // further data centres, which it answers for with the same keys and catalog
	Streaming     bool          // answer blocking health queries with the headers of the streaming backend
	SessionTTLMin time.Duration // shortest TTL of a session; 0: 10s, as in Consul
}

// Server is a running double: one Consul agent, and the servers behind it.
type Server struct {
	URL  string // http://HOST:PORT
	Addr string // HOST:PORT, what CONSUL_HTTP_ADDR wants

	backend *backend
	port    *ports.Reservation // the address stays ours while the agent is down
	flights *flights

	mu     sync.Mutex
	run    *run // nil: the agent is down
	closed bool
}

// errStopped is why a request ends when the agent dies.
var errStopped = errors.New("the agent was stopped")

// NewServer starts a double with the zero Config. It panics where it cannot
// listen, as httptest does. Close it when done.
func NewServer() *Server {
	s, err := Listen(Config{})
	if err != nil {
		panic(fmt.Sprintf("consultest: %v", err))
	}
	return s
}

// Listen starts a double. Close it when done.
func Listen(c Config) (*Server, error) {
	c.Node = cmp.Or(c.Node, "consultest")
	c.Datacenter = cmp.Or(c.Datacenter, "dc1")
	c.SessionTTLMin = cmp.Or(c.SessionTTLMin, 10*time.Second)
	return listen(c.Addr, newBackend(c))
}

func listen(addr string, b *backend) (*Server, error) {
	at, err := netip.ParseAddrPort(cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", addr, err)
	}
	port, err := ports.ReservePort(at)
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + port.String(), Addr: port.String(), backend: b, port: port, flights: newFlights()}
	if err := s.start(); err != nil {
		port.Release()
		return nil, err
	}
	return s, nil
}

// AddAgent starts another agent of the same cluster, with an address, requests
// and faults of its own; node names its node. Close it before s.
func (s *Server) AddAgent(node string) (*Server, error) {
	b := *s.backend
	b.node, b.guest = node, true
	b.agent = newAgent(node, b.store)
	b.store.update(func(st *state, idx uint64) error {
		b.addNode(st, idx)
		return nil
	})
	return listen("", &b)
}

// Client makes an official client for the double. It keeps no connections, so that it need not be closed.
func (s *Server) Client() *api.Client {
	c, err := api.NewClient(&api.Config{Address: s.Addr, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil { // the configuration is ours
		panic(fmt.Sprintf("consultest: make a client: %v", err))
	}
	return c
}

// Close ends the double: every connection is reset, every query that waits is
// ended, and when it returns nothing of the double runs any more.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.stopLocked()
	s.backend.close()
	s.port.Release()
}

// Stop is the death of the agent: connections are reset, new ones refused.
// The cluster behind it lives on: sessions expire, and direct changes count.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked()
}

// Start brings a stopped agent back, at the same address and with the catalog
// as it is. It panics when the address cannot be had, which nobody else can take.
func (s *Server) Start() {
	if err := s.start(); err != nil {
		panic(fmt.Sprintf("consultest: %v", err))
	}
}

// Restart is the restart of a whole dev cluster: connections are reset, and it
// comes back with an empty catalog and an index that starts over. Agents that
// were added share that catalog, and find their own node gone from it.
func (s *Server) Restart() {
	s.Stop()
	s.backend.wipe()
	s.Start()
}

// run is one life of the agent, from start to stop.
type run struct {
	http   *http.Server
	cancel context.CancelCauseFunc
	served chan struct{} // closed when Serve has returned

	mu    sync.Mutex
	gone  sync.Cond // a connection has ended
	conns map[net.Conn]struct{}
	dying bool // connections end with a reset from now on
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil || s.closed {
		return nil
	}
	l, err := net.Listen("tcp4", s.Addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &run{cancel: cancel, served: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	r.gone.L = &r.mu
	r.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         r.track,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that vanish are the purpose of this place
	}
	go r.serve(l)
	s.run = r
	return nil
}

func (r *run) serve(l net.Listener) {
	defer close(r.served)
	r.http.Serve(l) // returns http.ErrServerClosed, and closes l
}

func (r *run) track(c net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state {
	case http.StateNew:
		r.conns[c] = struct{}{}
		if r.dying {
			linger0(c)
		}
	case http.StateClosed, http.StateHijacked:
		delete(r.conns, c)
		r.gone.Broadcast()
	}
}

func (s *Server) stopLocked() {
	r := s.run
	if r == nil {
		return
	}
	s.run = nil
	r.mu.Lock()
	r.dying = true
	for c := range r.conns { // before any of them is closed, or the client sees a clean end
		linger0(c)
	}
	r.mu.Unlock()
	r.cancel(errStopped)
	r.http.Close()
	<-r.served
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns { // http.Server.Close misses what was accepted at that moment
		c.Close()
	}
	for len(r.conns) > 0 { // their goroutines end as their requests do
		r.gone.Wait()
	}
}

// linger0 makes the close of c a reset.
func linger0(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
}

// Connections is the number of connections that are open now.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return 0
	}
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	return len(s.run.conns)
}
