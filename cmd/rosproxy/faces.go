package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

type serveFunc = func(context.Context, net.Listener) error

// face is something that answers on an endpoint until its context ends, and
// closes it.
type face struct {
	endpoint *endpoint
	serve    serveFunc
}

// faces are all endpoints that answer. Those of a successor answer when its
// turn has come. When they are handed over, the admin endpoints go on at a
// socket of this process's own.
type faces struct {
	all        []face
	turn       <-chan struct{}
	handedOver <-chan struct{}
	own        string // path of the socket of its own
	serveOwn   serveFunc
	log        zerolog.Logger
}

// serve returns when all have ended: at the end of ctx, or when one fails.
func (f *faces) serve(ctx context.Context) error {
	select {
	case <-f.turn:
	case <-ctx.Done():
		var errs []error
		for _, one := range f.all {
			errs = append(errs, one.endpoint.Close())
		}
		return errors.Join(errs...)
	}
	group, ctx := errgroup.WithContext(ctx)
	until, leave := context.WithCancel(ctx)
	defer leave()
	for _, one := range f.all {
		one.endpoint.keepPath(false)
		group.Go(func() error { return one.serve(until, one.endpoint) })
	}
	group.Go(func() error {
		select {
		case <-f.handedOver:
		case <-ctx.Done():
			return nil
		}
		l, err := listenLimited(ctx, "admin", "unix", f.own, ownSocketMode, maxAdminConns)
		if err != nil {
			f.log.Error().Err(err).Msg("no admin endpoints while this process drains")
		} else {
			group.Go(func() error { return f.serveOwn(ctx, l) })
		}
		leave() // kept connections, too: who asks the shared address is to reach the new process
		return nil
	})
	return group.Wait()
}

const ownSocketMode = 0o600

// ownSocket is where a process that has handed over can be asked: in the
// runtime directory that systemd made, else in the machine's, else in the one
// for temporary files.
func ownSocket(env []string) string {
	dir := os.TempDir()
	if unix.Access("/run", unix.W_OK|unix.X_OK) == nil {
		dir = "/run"
	}
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "RUNTIME_DIRECTORY="); ok && v != "" {
			dir, _, _ = strings.Cut(v, ":")
		}
	}
	return filepath.Join(dir, fmt.Sprintf("rosproxy-%d.sock", os.Getpid()))
}
