package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
)

// maxToken bounds the token, which clients send in a header.
const maxToken = 4096

// ReadToken reads a bearer token from a file of one word. It never blocks, as
// it would on a pipe.
func ReadToken(path string) (string, error) {
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	token, err := discovery.ReadToken(path)
	switch {
	case err != nil:
		return "", err
	case len(token) > maxToken:
		return "", fmt.Errorf("the token is longer than %d bytes", maxToken)
	case token == "":
		return "", errors.New("the file is empty")
	case strings.Contains(token, " "):
		return "", errors.New("the file holds more than one word")
	}
	return token, nil
}
