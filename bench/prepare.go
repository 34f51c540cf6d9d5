package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/workloads"
)

// debian is which of Debian's packages a peer comes from, and how to see that
// it is there.
type debian struct {
	peer     string
	file     string
	packages []string
}

var fromDebian = []debian{
	{peers.HAProxy, "/usr/sbin/haproxy", []string{"haproxy"}},
	{peers.Nginx, "/usr/lib/nginx/modules/ngx_stream_module.so", []string{"nginx-light", "libnginx-mod-stream"}},
}

// prepare installs the peers that are absent and builds rosproxy.
func prepare(ctx context.Context, s *settings, chosen []*workloads.Workload) error {
	var missing []string
	consul := false
	for _, w := range chosen {
		for _, d := range fromDebian {
			if _, err := os.Stat(d.file); err != nil && slices.Contains(w.Peers, d.peer) && !slices.Contains(missing, d.packages[0]) {
				missing = append(missing, d.packages...)
			}
		}
		consul = consul || w.Consul
	}
	if len(missing) > 0 {
		if err := install(ctx, missing); err != nil {
			return err
		}
	}
	if _, err := os.Stat(consulBinary(s.root)); consul && err != nil {
		return fmt.Errorf("%w; run make consul", err)
	}
	if _, ok := s.binaries[peers.Rosproxy]; !ok {
		s.binaries[peers.Rosproxy] = filepath.Join(s.root, "bin", "rosproxy")
		return command(ctx, nil, "make", "--no-print-directory", "-C", s.root, "build")
	}
	return nil
}

func install(ctx context.Context, packages []string) error {
	fmt.Println("installing from Debian's packages, without starting their services:", packages)
	// invoke-rc.d starts nothing in runlevel 1.
	env := []string{"DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"}
	args := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)
	err := command(ctx, env, "apt-get", args...)
	if err != nil { // the lists may be old
		err = errors.Join(command(ctx, env, "apt-get", "update", "-q"), command(ctx, env, "apt-get", args...))
	}
	if err != nil {
		return fmt.Errorf("install %v: %w", packages, err)
	}
	return nil
}

// command runs a program and shows what it did.
func command(ctx context.Context, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// shareBinaries copies rosproxy to where every user may run it.
func shareBinaries(s *settings, dir string) error {
	shared := map[string]string{}
	for name, from := range s.binaries {
		to := filepath.Join(dir, "binary-"+name)
		if err := copyProgram(from, to); err != nil {
			return fmt.Errorf("copy the binary of %s: %w", name, err)
		}
		shared[name] = to
	}
	s.binaries = shared
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
