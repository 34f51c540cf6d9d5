package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The socket of a process's own: where a generation that has handed over can
// be asked. The path is one that no other user can occupy, since the admin
// token is sent there.
const (
	ownPrefix = "rosproxy-" // then the pid
	ownSuffix = ".sock"
	tempDir   = "rosproxy-*" // what is made where no directory is safe: for its user alone, and not to be guessed
)

// OpenOwn opens this process's own socket: in the runtime directory that
// systemd made, else in /run, else in a new directory for temporary files that
// is its user's alone, and is removed with the socket. env has the first.
func OpenOwn(ctx context.Context, env []string, conns int) (net.Listener, error) {
	return openOwnIn(ctx, safeDirs(env), conns)
}

func openOwnIn(ctx context.Context, safe []string, conns int) (net.Listener, error) {
	name := ownPrefix + strconv.Itoa(os.Getpid()) + ownSuffix
	if len(safe) > 0 {
		return openPrivate(ctx, filepath.Join(safe[0], name), conns)
	}
	dir, err := os.MkdirTemp("", tempDir) // mode 0700
	if err != nil {
		return nil, fmt.Errorf("make a directory for the admin socket: %w", err)
	}
	l, err := openPrivate(ctx, filepath.Join(dir, name), conns)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &dirListener{l, dir}, nil
}

// openPrivate opens the admin listener on a unix socket that is its user's alone.
func openPrivate(ctx context.Context, path string, conns int) (net.Listener, error) {
	return open(ctx, Admin, "unix", path, privateMode, &pool{max: conns})
}

// dirListener removes the directory of its socket when it is closed.
type dirListener struct {
	net.Listener
	dir string
}

func (l *dirListener) Close() error {
	err := l.Listener.Close()
	if e := os.Remove(l.dir); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// safeDirs are the directories, of those that there should be, in which only
// this user and root can make a file.
func safeDirs(env []string) []string {
	dirs := []string{"/run"}
	for _, variable := range env {
		if v, ok := strings.CutPrefix(variable, "RUNTIME_DIRECTORY="); ok && v != "" {
			first, _, _ := strings.Cut(v, ":")
			dirs = []string{first, "/run"}
		}
	}
	var safe []string
	for _, dir := range dirs {
		if isSafe(dir) && unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			safe = append(safe, dir)
		}
	}
	return safe
}

// isSafe reports whether dir is a directory that belongs to this user or root,
// and nobody else may write to.
func isSafe(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && info.Mode().Perm()&0o022 == 0 && (isOwnedBy(info, 0) || isOwnedBy(info, os.Geteuid()))
}

func isOwnedBy(info fs.FileInfo, uid int) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == uid
}

// RemoveStale removes own sockets of processes that were killed, and tells
// which. It leaves alone what it cannot tell to be one.
func RemoveStale(env []string) (removed []string) {
	for _, dir := range safeDirs(env) {
		removed = append(removed, removeStaleIn(dir)...)
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), tempDir)) // its pattern is well-formed
	for _, dir := range dirs {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || !isOwnedBy(info, os.Geteuid()) || info.Mode().Perm() != 0o700 {
			continue
		}
		if found := removeStaleIn(dir); len(found) > 0 && os.Remove(dir) == nil {
			removed = append(removed, found...)
		}
	}
	return removed
}

func removeStaleIn(dir string) (removed []string) {
	paths, _ := filepath.Glob(filepath.Join(dir, ownPrefix+"*"+ownSuffix))
	for _, path := range paths {
		if isStale(path) && os.Remove(path) == nil {
			removed = append(removed, path)
		}
	}
	return removed
}

// bindTime is more than a process needs from the bind of its socket, which
// makes the file, to its listening.
const bindTime = time.Minute

// isStale reports whether path is an own socket on which nobody listens, nor
// is about to.
func isStale(path string) bool {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), ownPrefix), ownSuffix)
	pid, err := strconv.Atoi(name)
	if err != nil || pid <= 0 {
		return false
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket || !isOwnedBy(info, os.Geteuid()) {
		return false
	}
	// A process of another container may have the same pid, or one that is not seen from here.
	isGone := errors.Is(unix.Kill(pid, 0), unix.ESRCH) || pid == os.Getpid()
	if !isGone && time.Since(info.ModTime()) < bindTime {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
