package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// guard lets a request that needs the token pass only with it. The file is
// read anew for each such request, so that a rotated token counts at once and
// a removed one lets nobody in.
//
// Where no token is asked for, it wants a Host that a page in somebody's
// browser cannot make it send: a page that had its own name resolve to this
// machine (DNS rebinding) would be of the same origin as these endpoints.
type guard struct {
	tokenFile string   // empty: no token is asked for
	hosts     []string // names besides those of the loopback, in lower case
}

// admits returns nil when r may pass, else why not.
func (g guard) admits(r *http.Request) error {
	if g.tokenFile == "" {
		return g.admitsHost(r)
	}
	if !needsToken(r) {
		return nil
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return errors.New("a bearer token is required")
	}
	token, err := config.ReadToken(g.tokenFile)
	if err != nil {
		return fmt.Errorf("read the token file: %w", err)
	}
	if !equal(strings.TrimSpace(given), token) {
		return errors.New("wrong bearer token")
	}
	return nil
}

// needsToken: what changes something, and what names clients.
func needsToken(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Path == pathConnections
}

// equal takes the same time wherever a and b differ, whatever their lengths.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// errHost is a Host that somebody else's page may have chosen.
type errHost string

func (e errHost) Error() string {
	return fmt.Sprintf("the Host %q is neither of this machine's loopback, nor an IP address, nor named by --admin-host", string(e))
}

// admitsHost wants a Host that no rebound name can be. No browser speaks to a
// unix socket, and balancers put what they like into the Host of a health
// check, whose answer is nobody's secret.
func (g guard) admitsHost(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" || isHealth(r) {
		return nil
	}
	host := hostOf(r.Host)
	if _, err := netip.ParseAddr(host); err == nil || host == "" || host == "localhost" ||
		strings.HasSuffix(host, ".localhost") || slices.Contains(g.hosts, host) {
		return nil
	}
	return errHost(r.Host)
}

// isHealth reports whether r asks for nothing but the health.
func isHealth(r *http.Request) bool {
	return !needsToken(r) && (r.URL.Path == pathHealthz || r.URL.Path == pathReadyz || r.URL.Path == pathHealth)
}

// hostOf is the host in a Host header, in lower case, without port, brackets and the dot of a full name.
func hostOf(header string) string {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
