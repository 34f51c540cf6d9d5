package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// guard lets a request that needs the token pass only with it. The file is
// read anew for each such request, so that a rotated token counts at once and
// a removed one lets nobody in.
type guard struct {
	tokenFile string // empty: everybody passes
}

// admits returns nil when r may pass, else why not.
func (g guard) admits(r *http.Request) error {
	if g.tokenFile == "" || !needsToken(r) {
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
