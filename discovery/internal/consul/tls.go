package consul

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// tlsSource makes the TLS configuration of each connection to Consul. The
// files (CA, client certificate and key) are read for every handshake, as the
// token is for every request: certificates that last for hours are rotated
// under a process that lasts for months, and what was read once would leave it
// blind for good. Safe for concurrent use.
type tlsSource struct {
	files  api.TLSConfig
	reread bool // all are regular files or directories; a pipe can be read only once

	mu     sync.Mutex
	config *tls.Config // the last one whose files could be read
}

// newTLSSource fails when the files cannot be read or do not fit each other.
func newTLSSource(files api.TLSConfig) (*tlsSource, error) {
	config, err := api.SetupTLSConfig(&files)
	if err != nil {
		return nil, err
	}
	s := &tlsSource{files: files, config: config}
	for _, path := range []string{files.CAFile, files.CAPath, files.CertFile, files.KeyFile} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			s.reread = false
			break
		}
		s.reread = true
	}
	return s, nil
}

// get answers the configuration for one handshake. While the files cannot be
// read, or the certificate does not fit the key, as may be for a moment when
// they are replaced one by one, it is the last one that could, and err says why.
// The configuration must not be changed.
func (s *tlsSource) get() (config *tls.Config, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reread {
		var read *tls.Config
		if read, err = api.SetupTLSConfig(&s.files); err == nil {
			s.config = read
		}
	}
	return s.config, err
}

// dialFunc opens a connection to an address.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// over is dial, with a TLS handshake on top of it. The name that the server
// must prove is that of CONSUL_TLS_SERVER_NAME, else the host of the address.
func (s *tlsSource) over(dial dialFunc) dialFunc {
	const handshakeTimeout = 5 * time.Second
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config, unread := s.get()
		config = config.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
				raw.Close()
				return nil, err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		c := tls.Client(raw, config)
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			if unread != nil {
				return nil, fmt.Errorf("%w; its files could not be read again: %w", err, unread)
			}
			return nil, err
		}
		return c, nil
	}
}
