package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// maxToken bounds the token file.
const maxToken = 4096

// readToken reads a bearer token from a file of one line. It never blocks, as
// it would on a pipe.
func readToken(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	switch {
	case len(b) > maxToken:
		return "", fmt.Errorf("the file is longer than %d bytes", maxToken)
	case token == "":
		return "", errors.New("the file is empty")
	case !isPlain(token):
		return "", errors.New("the file holds more than one word")
	}
	return token, nil
}

// guard lets a request that needs the token pass only with it. The file is
// read anew for each such request, so that a rotated token counts at once and
// a removed one lets nobody in.
type guard struct {
	tokenFile string // empty: everybody passes
}

// admits says whether r may pass, and if not, why.
func (g guard) admits(r *http.Request) error {
	if g.tokenFile == "" || !needsToken(r) {
		return nil
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return errors.New("a bearer token is required")
	}
	token, err := readToken(g.tokenFile)
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
