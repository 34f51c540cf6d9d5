package consul

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// authority signs the certificates of one generation of a Consul.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true})
	return a
}

// sign makes a certificate as c says, signed by the authority, or by itself if it is the first.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// pair makes a certificate for 127.0.0.1, as a server or a client shows it.
func (a *authority) pair(name string) tls.Certificate {
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// server is how a Consul of this generation shakes hands: it wants a client's certificate.
func (a *authority) server() *tls.Config {
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{a.pair("server")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
}

// client writes what a client of this generation needs into dir, each file in
// one step, and sets Consul's variables.
func (a *authority) client(t *testing.T, dir string) {
	t.Helper()
	pair := a.pair("client")
	key, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		variable, name, kind string
		der                  []byte
	}{
		{"CONSUL_CACERT", "ca.pem", "CERTIFICATE", a.cert.Raw},
		{"CONSUL_CLIENT_CERT", "client.pem", "CERTIFICATE", pair.Certificate[0]},
		{"CONSUL_CLIENT_KEY", "client.key", "EC PRIVATE KEY", key},
	} {
		path := filepath.Join(dir, f.name)
		replace(t, path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}))
		t.Setenv(f.variable, path)
	}
}

// replace writes a file in one step.
func replace(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// rotating is a server with the certificates of whatever authority it was given last.
func rotating(t *testing.T, a *authority) (s *httptest.Server, rotate func(*authority)) {
	var now atomic.Pointer[tls.Config]
	now.Store(a.server())
	s, _ = capture(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the purpose
		s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil }}
		s.StartTLS()
		return s
	})
	return s, func(a *authority) {
		now.Store(a.server())
		s.CloseClientConnections() // as a restart does
	}
}

// TestRotatedTLSFilesAreReadAnew: a source that has run since before the
// rotation shakes hands with the Consul of after it.
func TestRotatedTLSFilesAreReadAnew(t *testing.T) {
	dir, first, second := t.TempDir(), newAuthority(t, "first"), newAuthority(t, "second")
	s, rotate := rotating(t, first)
	first.client(t, dir)
	c := clientAt(t, s.URL, hostname.SystemLookup)
	ask := func() error { return ask(t, c, testTimeout) }
	if err := ask(); err != nil {
		t.Fatalf("before the rotation: got error %v; want none", err)
	}
	second.client(t, dir)
	if err := ask(); err != nil {
		t.Errorf("new files, old server, a connection from before: got error %v; want none", err)
	}
	rotate(second)
	if err := ask(); err != nil {
		t.Errorf("after the rotation: got error %v; want none", err)
	}
}

// TestTLSFilesThatCannotBeReadLeaveTheLastOnes: for a moment of a rotation,
// and for as long as the files are gone.
func TestTLSFilesThatCannotBeReadLeaveTheLastOnes(t *testing.T) {
	dir, first, second := t.TempDir(), newAuthority(t, "first"), newAuthority(t, "second")
	s, rotate := rotating(t, first)
	first.client(t, dir)
	c := clientAt(t, s.URL, hostname.SystemLookup)
	ask := func() error {
		defer c.CloseIdleConnections() // each time a new handshake
		return ask(t, c, testTimeout)
	}
	key := filepath.Join(dir, "client.key")
	for _, body := range []string{"", "garbage"} {
		replace(t, key, []byte(body))
		if err := ask(); err != nil {
			t.Errorf("key %q: got error %v; want none", body, err)
		}
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Errorf("without a key: got error %v; want none", err)
	}
	rotate(second)
	if err := ask(); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("the server rotated, without a key: got error %v; want one that names %s", err, key)
	}
}

// TestTLSFileThatIsAPipeIsReadOnce: a second read would wait for ever.
func TestTLSFileThatIsAPipeIsReadOnce(t *testing.T) {
	dir, a := t.TempDir(), newAuthority(t, "first")
	s, _ := rotating(t, a)
	a.client(t, dir)
	ca := filepath.Join(dir, "ca.pem")
	body, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(pipe, body, 0o600) // blocks until it is read
	t.Setenv("CONSUL_CACERT", pipe)
	if err := askOnce(t, s.URL); err != nil {
		t.Errorf("got error %v; want none", err)
	}
}
