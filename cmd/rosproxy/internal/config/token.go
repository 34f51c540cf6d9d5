package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// maxToken bounds the token file.
const maxToken = 4096

// ReadToken reads a bearer token from a file of one line. It never blocks, as
// it would on a pipe.
func ReadToken(path string) (string, error) {
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
