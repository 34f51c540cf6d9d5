package consul

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"
)

// environment is what Consul's own variables say of how to talk to it
// (commands/index#environment-variables).
type environment struct {
	api   *api.Config
	tls   *tlsSource
	token *tokenSource
}

// readEnvironment reads and checks the environment. Its errors name the
// variable at fault.
func readEnvironment() (environment, error) {
	// The library only warns of a value that is no boolean, and then takes
	// CONSUL_HTTP_SSL_VERIFY=flase to mean that nothing is verified.
	for _, name := range []string{api.HTTPSSLEnvName, api.HTTPSSLVerifyEnvName} {
		if v := os.Getenv(name); v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				return environment{}, fmt.Errorf("%s=%q is neither true nor false", name, v)
			}
		}
	}
	e := environment{api: api.DefaultConfig()}
	var err error
	if e.tls, err = newTLSSource(e.api.TLSConfig); err != nil {
		return e, fmt.Errorf("set up TLS from %s: %w", tlsVariables(), err)
	}
	if e.token, err = newTokenSource(e.api.TokenFile, e.api.Token); err != nil {
		return e, fmt.Errorf("%s: %w", api.HTTPTokenFileEnvName, err)
	}
	return e, nil
}

// tlsVariables names those variables about TLS that are set.
func tlsVariables() string {
	var set []string
	for _, name := range []string{api.HTTPCAFile, api.HTTPCAPath, api.HTTPClientCert, api.HTTPClientKey, api.HTTPTLSServerName} {
		if v := os.Getenv(name); v != "" {
			set = append(set, name+"="+v)
		}
	}
	return strings.Join(set, " ")
}

// environmentAddress answers the address that the environment names. It is for
// a source that was given none: nothing else may fail because of a CONSUL_PORT
// that was never meant for it.
func environmentAddress() (string, error) {
	if a := os.Getenv(api.HTTPAddrEnvName); a != "" {
		return a, nil
	}
	host, port := os.Getenv("CONSUL_HOST"), os.Getenv("CONSUL_PORT")
	// In every pod of its namespace Kubernetes sets CONSUL_PORT to
	// tcp://IP:PORT for a Service named consul (Docker's links did the same).
	if link, ok := strings.CutPrefix(port, "tcp://"); ok {
		linkHost, linkPort, err := net.SplitHostPort(link)
		if err != nil {
			return "", fmt.Errorf("CONSUL_PORT=%q: %w", port, err)
		}
		host, port = cmp.Or(host, linkHost), linkPort
	}
	host, port = cmp.Or(host, "127.0.0.1"), cmp.Or(port, defaultPort)
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	address := net.JoinHostPort(host, port)
	if _, err := hostPort(address, defaultPort); err != nil {
		return "", fmt.Errorf("CONSUL_HOST=%q CONSUL_PORT=%q: %w", os.Getenv("CONSUL_HOST"), os.Getenv("CONSUL_PORT"), err)
	}
	return address, nil
}

// tokenSource answers the ACL token to send. A token file is read for every
// request, since Consul's library reads it once and a rotated token would
// never be seen (api.Config: "read once at startup and never again").
// Safe for concurrent use.
type tokenSource struct {
	file string // empty: the token will not change

	mu    sync.Mutex
	token string // the last one known
}

// newTokenSource fails when the file cannot be read. As with Consul's own
// client the file beats the token, unless it is empty.
func newTokenSource(file, token string) (*tokenSource, error) {
	t := &tokenSource{file: file, token: token}
	if file == "" {
		return t, nil
	}
	read, err := ReadToken(file)
	if err != nil {
		return nil, err
	}
	if read != "" {
		t.token = read
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		t.file = "" // a pipe: what it held is read
	}
	return t, nil
}

// get answers the token; the last one while the file cannot be read or is
// empty, as it may be for a moment when it is written anew.
func (t *tokenSource) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != "" {
		if read, err := ReadToken(t.file); err == nil && read != "" {
			t.token = read
		}
	}
	return t.token
}

// ReadToken reads a token file, of which nothing is ever quoted in an error. The
// token is empty when the file is, and else one line of printable ASCII.
func ReadToken(file string) (string, error) {
	const most = 64 << 10
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	b = bytes.TrimSpace(b)
	if len(b) > most {
		return "", fmt.Errorf("read the token: %s is longer than %d bytes", file, most)
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return "", errors.New("read the token: " + file + " holds what cannot be in a token")
		}
	}
	return string(b), nil
}
