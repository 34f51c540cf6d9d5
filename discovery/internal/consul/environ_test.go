package consul

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

func TestAddressesAreUnderstood(t *testing.T) {
	for _, tc := range []struct {
		in   string
		tls  bool
		want string // scheme host prefix socket
		err  string
	}{
		{in: "127.0.0.1:8500", want: "http 127.0.0.1:8500"},
		{in: "consul", want: "http consul:8500"},
		{in: ":8501", want: "http 127.0.0.1:8501"},
		{in: "[::1]:8500", want: "http [::1]:8500"},
		{in: "[::1]", want: "http [::1]:8500"},
		{in: "::1", want: "http [::1]:8500"},
		{in: "consul:8501", tls: true, want: "https consul:8501"},
		{in: "unix:8500", want: "http unix:8500"},
		{in: "http://consul:8500", want: "http consul:8500"},
		{in: "http://consul:8500", tls: true, want: "https consul:8500"},
		{in: "http://consul", want: "http consul:80"},
		{in: "https://consul", want: "https consul:443"},
		{in: "https://consul:8501/", want: "https consul:8501"},
		{in: "https://gw.example:8501/consul/", want: "https gw.example:8501 /consul"},
		{in: "unix:///run/consul.sock", want: "http localhost  /run/consul.sock"},
		{in: "", err: "host name"},
		{in: "unix://", err: "no socket"},
		{in: "ftp://consul", err: `scheme "ftp"`},
		{in: "unix:/run/consul.sock", err: "a socket is named by unix://PATH"},
		{in: "consul:http", err: `port "http"`},
		{in: "consul:0", err: `port "0"`},
		{in: "consul:65536", err: `port "65536"`},
		{in: "consul:8500/v1", err: "port"},
		{in: "con sul:8500", err: "host name"},
		{in: "http://", err: "host name"},
		{in: "http://me:secret@consul:8500", err: "CONSUL_HTTP_AUTH"},
		{in: "1.2.3:8500", err: "neither"},
	} {
		e, err := parseEndpoint(tc.in, tc.tls)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: got error %v; want one with %q, and no password", tc.in, err, tc.err)
			}
			continue
		}
		got := strings.TrimSpace(strings.Join([]string{e.scheme, e.host, e.prefix, e.socket}, " "))
		if err != nil || got != tc.want || e.name != tc.in {
			t.Errorf("%q: got %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestAddressComesFromTheEnvironment(t *testing.T) {
	const kubernetes = "tcp://10.96.0.12:8501" // CONSUL_PORT, for a Service named consul
	for _, tc := range []struct{ addr, host, port, want string }{
		{"", "", kubernetes, "10.96.0.12:8501"},
		{"", "", "tcp://[fd00::12]:8501", "[fd00::12]:8501"},
		{"", "consul", kubernetes, "consul:8501"}, // whom the operator names is asked
		{"10.0.0.1:8500", "", kubernetes, "10.0.0.1:8500"},
		{"10.0.0.1:8500", "http://x", "garbage", "10.0.0.1:8500"},
		{"", "", "", "127.0.0.1:8500"},
		{"", "consul", "", "consul:8500"},
		{"", "", "8501", "127.0.0.1:8501"},
		{"", "10.0.0.1", "8501", "10.0.0.1:8501"},
		{"", "::1", "8501", "[::1]:8501"},
		{"http://x:1", "consul", "8501", "http://x:1"},
	} {
		t.Setenv("CONSUL_HTTP_ADDR", tc.addr)
		t.Setenv("CONSUL_HOST", tc.host)
		t.Setenv("CONSUL_PORT", tc.port)
		all, err := NewClients(nil, hostname.SystemLookup)
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if got := all[0].Address(); got != tc.want {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
}

// TestGivenAddressesBeatTheEnvironment: then it is not even understood.
func TestGivenAddressesBeatTheEnvironment(t *testing.T) {
	t.Setenv("CONSUL_HOST", "http://x")
	t.Setenv("CONSUL_PORT", "garbage")
	if got := clientAt(t, "10.0.0.1:8500", hostname.SystemLookup).Address(); got != "10.0.0.1:8500" {
		t.Errorf("got address %q; want the one that was given", got)
	}
}

func TestWhatCannotBeUnderstoodIsNamed(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	long := filepath.Join(dir, "long")
	binary := filepath.Join(dir, "binary")
	for file, body := range map[string]string{empty: "", long: strings.Repeat("x", 1<<17), binary: "a\nb"} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := filepath.Join(dir, "gone")
	for _, tc := range []struct{ name, value, err string }{
		{"CONSUL_HTTP_ADDR", "ftp://x", "ftp://x"},
		{"CONSUL_HOST", "http://x", "CONSUL_HOST"},
		{"CONSUL_PORT", "http", "CONSUL_PORT"},
		{"CONSUL_PORT", "tcp://10.96.0.12", "CONSUL_PORT"},
		{"CONSUL_PORT", "udp://10.96.0.12:8500", "CONSUL_PORT"},
		{"CONSUL_HTTP_SSL", "maybe", "CONSUL_HTTP_SSL"},
		{"CONSUL_HTTP_SSL_VERIFY", "flase", "CONSUL_HTTP_SSL_VERIFY"},
		{"CONSUL_CACERT", gone, gone},
		{"CONSUL_CACERT", empty, empty},
		{"CONSUL_CAPATH", gone, gone},
		{"CONSUL_CLIENT_CERT", empty, "CONSUL_CLIENT_CERT"},
		{"CONSUL_CLIENT_KEY", gone, "CONSUL_CLIENT_KEY"},
		{"CONSUL_HTTP_TOKEN_FILE", gone, gone},
		{"CONSUL_HTTP_TOKEN_FILE", long, long},
		{"CONSUL_HTTP_TOKEN_FILE", binary, binary},
		{"CONSUL_HTTP_TOKEN_FILE", dir, dir},
	} {
		t.Run(tc.name+"="+filepath.Base(tc.value), func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			if _, err := NewClients(nil, hostname.SystemLookup); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got error %v; want one with %q", err, tc.err)
			}
		})
	}
}

// capture is a server that answers an empty list and keeps the last request.
func capture(t *testing.T, start func(http.Handler) *httptest.Server) (*httptest.Server, func() *http.Request) {
	var last atomic.Pointer[http.Request]
	s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		w.Header().Set("X-Consul-Index", "7")
		fmt.Fprint(w, "[]")
	}))
	t.Cleanup(s.Close)
	return s, last.Load
}

// clientAt is one of address, with what the environment says.
func clientAt(t *testing.T, address string, lookup hostname.LookupFunc) *Client {
	t.Helper()
	all, err := NewClients([]string{address}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all[0].CloseIdleConnections)
	return all[0]
}

// ask has c answer a consistent read within timeout.
func ask(t *testing.T, c *Client, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, _, err := c.Service(ctx, "sync", nil, false, &api.QueryOptions{RequireConsistent: true, Token: c.Token()})
	if err != nil {
		err = c.Explain(ctx, err, "service:read")
	}
	return err
}

// askOnce puts one consistent read to address.
func askOnce(t *testing.T, address string) error {
	t.Helper()
	return ask(t, clientAt(t, address, hostname.SystemLookup), testTimeout)
}

func TestRotatedTokenFileIsReadAnew(t *testing.T) {
	s, last := capture(t, httptest.NewServer)
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(" first \n")
	t.Setenv("CONSUL_HTTP_TOKEN", "beaten by the file")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", file)
	c := clientAt(t, s.URL, hostname.SystemLookup)
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "first"},
		{func() { write("second") }, "second"},
		{func() { write("") }, "second"},
		{func() { os.Remove(file) }, "second"},
		{func() { write("third\n") }, "third"},
	} {
		step.do()
		if err := ask(t, c, testTimeout); err != nil {
			t.Fatal(err)
		}
		if got := last().Header.Get("X-Consul-Token"); got != step.want {
			t.Errorf("got token %q; want %q", got, step.want)
		}
	}
}

func TestConsulOverAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consul.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	capture(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Listener.Close()
		s.Listener = l
		s.Start()
		return s
	})
	if err := askOnce(t, "unix://"+path); err != nil {
		t.Errorf("got error %v; want none", err)
	}
}

func TestConsulOverTLS(t *testing.T) {
	s, _ := capture(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the purpose
		s.StartTLS()
		return s
	})
	address := s.Listener.Addr().String()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := askOnce(t, "https://"+address); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: got error %v; want one about the certificate", err)
	}
	t.Setenv("CONSUL_CACERT", ca)
	t.Setenv("CONSUL_HTTP_SSL", "true")
	if err := askOnce(t, address); err != nil {
		t.Errorf("got error %v; want none", err)
	}
	t.Setenv("CONSUL_TLS_SERVER_NAME", "other.test")
	if err := askOnce(t, address); err == nil {
		t.Error("another server name was accepted")
	}
	t.Setenv("CONSUL_HTTP_SSL_VERIFY", "false")
	if err := askOnce(t, address); err != nil {
		t.Errorf("without verification: got error %v; want none", err)
	}
}

func TestProxyOfTheEnvironmentIsNotForConsul(t *testing.T) {
	// net/http never uses a proxy for loopback addresses, so a request would prove nothing.
	if newTransport(endpoint{}, &tlsSource{}, &dialer{}).Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	other, last := capture(t, httptest.NewServer)
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	t.Setenv("CONSUL_HTTP_TOKEN", "t0ken")
	if err := askOnce(t, s.URL); err == nil || IsDenial(err) {
		t.Errorf("got error %v; want that this is no answer", err)
	}
	if last() != nil {
		t.Error("the token was carried to where the redirect led")
	}
}

// names has every name stand for addrs.
func names(addrs ...string) hostname.LookupFunc {
	var out []netip.Addr
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return func(context.Context, string) ([]netip.Addr, error) { return out, nil }
}

func TestNameOfSeveralServersLeadsToAnotherOneAfterATimeout(t *testing.T) {
	well, _ := capture(t, httptest.NewServer) // on 127.0.0.1
	_, p, _ := net.SplitHostPort(well.Listener.Addr().String())
	hung, err := net.Listen("tcp", "127.0.0.2:"+p) // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	c := clientAt(t, "consul.example:"+p, names("127.0.0.2", "127.0.0.1"))
	if err := ask(t, c, 200*time.Millisecond); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("the hung server: got error %v; want %v", err, ErrNoAnswer)
	}
	if err := ask(t, c, testTimeout); err != nil {
		t.Errorf("after that: got error %v; want the other server's answer", err)
	}
}

func TestDialerTriesEveryAddressOfAName(t *testing.T) {
	well, _ := capture(t, httptest.NewServer)
	d := &dialer{lookup: names("127.0.0.3", "127.0.0.2", "127.0.0.1")} // nobody listens on the first two
	_, p, _ := net.SplitHostPort(well.Listener.Addr().String())
	for range 4 {
		c, err := d.dial(context.Background(), "tcp", "consul.example:"+p)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		d.rotate()
	}
}

// TestHeadersAreReadWhateverOneOfThemSays: Consul's client stops at a number that it
// cannot read.
func TestHeadersAreReadWhateverOneOfThemSays(t *testing.T) {
	for _, tc := range []struct{ name, value string }{
		{"X-Consul-Index", "garbage"}, {"X-Consul-Index", "-1"}, {"X-Consul-Index", ""},
		{"X-Consul-LastContact", ""}, {"X-Consul-LastContact", "9223372036854775808"}, {"Age", "an hour"},
	} {
		t.Run(tc.name+" "+tc.value, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Set("X-Consul-Index", "7")
				h.Set("X-Consul-LastContact", "0")
				h.Set("X-Consul-KnownLeader", "true")
				h.Set("X-Consul-Default-ACL-Policy", "deny")
				h.Set("X-Consul-Results-Filtered-By-ACLs", "true")
				h.Set("X-Cache", "MISS")
				h.Set("X-Consul-Query-Backend", "blocking-query")
				if h.Set(tc.name, tc.value); tc.value == "" {
					h.Del(tc.name)
				}
				fmt.Fprint(w, "[]")
			}))
			defer s.Close()
			c := clientAt(t, s.URL, hostname.SystemLookup)
			_, meta, err := c.Service(t.Context(), "sync", nil, true, &api.QueryOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !meta.KnownLeader || meta.DefaultACLPolicy != "deny" || !meta.ResultsFilteredByACLs || meta.QueryBackend != api.QueryBackendBlockingQuery {
				t.Errorf("got %+v; want all that the other headers say", meta)
			}
			if want := uint64(7); tc.name != "X-Consul-Index" && meta.LastIndex != want {
				t.Errorf("got index %d; want %d", meta.LastIndex, want)
			}
			if _, err := c.ListKeys(t.Context(), "", "reports/", testTimeout); !IsDenial(err) {
				t.Errorf("a list of keys that ACLs have filtered: got %v; want that this is denied", err)
			}
		})
	}
}

// TestWhatIsNotJSONAsAWholeIsNoAnswer: Consul's client does not look behind the first value.
func TestWhatIsNotJSONAsAWholeIsNoAnswer(t *testing.T) {
	const pair = `[{"Key":"a/leader","Value":"eA==","Session":"s","ModifyIndex":7}]`
	for body, want := range map[string]bool{pair: true, " " + pair + "\n": true, pair + "<html>": false, pair + pair: false, pair[:len(pair)-1]: false, "": false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Index", "7")
			fmt.Fprint(w, body)
		}))
		c := clientAt(t, s.URL, hostname.SystemLookup)
		_, _, _, err := c.Key(t.Context(), "a/leader", &api.QueryOptions{})
		_, listErr := c.ListKeys(t.Context(), "", "a/", testTimeout)
		if (err == nil) != want || (listErr == nil) != want {
			t.Errorf("%q: got %v for the key, %v for the list; want an error: %t", body, err, listErr, !want)
		}
		s.Close()
	}
}

// TestWriteIsMadeWhenConsulSaysSo, and not when "true" stands somewhere in what something
// else says: a report would be taken to stand that nobody can read.
func TestWriteIsMadeWhenConsulSaysSo(t *testing.T) {
	for body, want := range map[string]string{
		"true": "made", "true\n": "made", "false": "not made",
		"": "error", `{"stored":true}`: "error", "<p>It is not true.</p>": "error", `"true"`: "error", "true true": "error",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		c := clientAt(t, s.URL, hostname.SystemLookup)
		said := func(made bool, err error) string {
			switch {
			case err != nil:
				return "error"
			case made:
				return "made"
			}
			return "not made"
		}
		if got := said(c.PutKey(t.Context(), "", "a", []byte("x"), 1, testTimeout)); got != want {
			t.Errorf("%q, to a write: got %s; want %s", body, got, want)
		}
		if got := said(c.DeleteKey(t.Context(), "", "a", 1, testTimeout)); got != want {
			t.Errorf("%q, to the end of a key: got %s; want %s", body, got, want)
		}
		s.Close()
	}
}
