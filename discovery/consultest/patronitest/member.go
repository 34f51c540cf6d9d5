package patronitest

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"

	"github.com/rosproxy/rosproxy/discovery/consultest/internal/ports"
)

// The roles, as Patroni 3.0 writes them.
const (
	primary = "master"
	replica = "replica"
)

// Member is one member of a cluster, with its REST API.
type Member struct {
	Name string
	Addr string // HOST:PORT of the REST API, the same over all its lives

	cluster *Cluster
	port    *ports.Reservation
	tls     bool

	// Guarded by Cluster.mu.
	session string // empty: it has ended
	connURL string
	apiURL  string
	stopped bool
	web     *httptest.Server
	cert    *x509.Certificate

	mu     sync.Mutex
	is     string
	leader bool
	broken []*breakage // the newest counts
	probes int
}

type breakage struct{ http.Handler }

func newMember(c *Cluster, name, connURL string, tls bool) (*Member, error) {
	port, err := ports.Reserve(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return nil, err
	}
	m := &Member{Name: name, Addr: port.String(), cluster: c, port: port, tls: tls, connURL: connURL, is: replica}
	if err := m.listen(); err != nil {
		port.Release()
		return nil, err
	}
	m.cert = m.web.Certificate()
	m.apiURL = m.web.URL + "/patroni"
	return m, nil
}

func (m *Member) listen() error {
	l, err := net.Listen("tcp4", m.Addr)
	if err != nil {
		return err
	}
	m.web = httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	m.web.Listener.Close()
	m.web.Listener = l
	m.web.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that refuse the certificate are wanted
	if m.tls {
		m.web.StartTLS()
	} else {
		m.web.Start()
	}
	return nil
}

// Certificate is that of a member with TLS, and its own authority; nil without TLS.
func (m *Member) Certificate() *x509.Certificate { return m.cert }

// Stop is the death of the member's Patroni: its REST API refuses connections.
// Its session, and what it holds, stays until [Cluster.Expire], as until the end of its TTL.
func (m *Member) Stop() {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.stop()
}

func (m *Member) stop() {
	if m.stopped {
		return
	}
	m.stopped = true
	m.web.Listener.Close()
	m.web.CloseClientConnections() // also ends handlers that hang
	m.web.Close()
}

// Start brings a stopped member back at the same address, as what it was, or
// as a replica if its session has ended.
func (m *Member) Start() error {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	if !m.stopped {
		return nil
	}
	if err := m.listen(); err != nil {
		return fmt.Errorf("start member %s: %w", m.Name, err)
	}
	m.stopped = false
	return m.cluster.touch(m)
}

func (m *Member) close() {
	m.stop()
	m.port.Release()
}

// Break lets h answer the REST API until undo; of several, the last one
// counts. See [Status], [Hang], [Drip], [Huge], [Redirect].
func (m *Member) Break(h http.Handler) (undo func()) {
	b := &breakage{h}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = append(m.broken, b)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, o := range m.broken {
			if o == b {
				m.broken = append(m.broken[:i:i], m.broken[i+1:]...)
				return
			}
		}
	}
}

// Probes is how often GET /primary was asked so far, broken or not.
func (m *Member) Probes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.probes
}

func (m *Member) setRole(role string, leader bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.is, m.leader = role, leader
}

func (m *Member) role() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.is
}

func (m *Member) leads() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leader
}

func (m *Member) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	role, leader := m.is, m.leader
	if r.URL.Path == "/primary" && r.Method == http.MethodGet {
		m.probes++
	}
	var broken http.Handler
	if n := len(m.broken); n > 0 {
		broken = m.broken[n-1]
	}
	m.mu.Unlock()
	if broken != nil {
		broken.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status(r.URL.Path, role, leader))
	fmt.Fprintf(w, `{"state": "running", "postmaster_start_time": "2024-01-01 00:00:00.000000+00:00", "role": "%s",`+
		` "server_version": 150003, "timeline": 1, "patroni": {"version": "%s", "scope": "%s"}}`, role, version, m.cluster.scope)
}

// status is Patroni's answer to the question that a path is: whether the
// member holds the lock, and not whether it was promoted.
func status(path, role string, leader bool) int {
	ok := false
	switch path = cmp.Or(strings.TrimPrefix(path, "/"), "primary"); path {
	case "primary", "master", "leader", "read-write":
		ok = leader
	case "replica":
		ok = !leader && role == replica
	case "read-only", "health", "patroni", "liveness", "readiness":
		ok = true
	}
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}
