package realconsul

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is whose root holds bin/consul.
const module = "github.com/rosproxy/rosproxy"

// Binary is the path of the Consul to run; without one the test fails.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := findBinary()
	if err != nil {
		t.Fatalf("find the consul to test with: %v; run make consul", err)
	}
	return path
}

func findBinary() (string, error) {
	path := os.Getenv("ROSPROXY_TEST_CONSUL")
	if path == "" {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		root, err := moduleRoot(dir)
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "consul")
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("%s is no program", path)
	}
	return path, nil
}

// moduleRoot walks up from dir to the root of this module.
func moduleRoot(dir string) (string, error) {
	for {
		name, err := moduleName(filepath.Join(dir, "go.mod"))
		switch {
		case err == nil && name == module:
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", err
		case filepath.Dir(dir) == dir:
			return "", fmt.Errorf("module %s is not above the working directory", module)
		}
		dir = filepath.Dir(dir)
	}
}

// moduleName is the name in a go.mod; empty where it has none.
func moduleName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", lines.Err()
}
