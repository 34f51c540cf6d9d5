package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
)

// given is a socket of systemd's that has that name.
func given(t *testing.T, name, address string) (f *os.File, at string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	copied, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	fd, err := unix.FcntlInt(copied.Fd(), unix.F_DUPFD_CLOEXEC, 0) // a file of that name, which the program closes
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l.Addr().String()
}

// TestEndpointAnswersOnEachOfItsSockets: a name stands for several addresses, and
// systemd may give several.
func TestEndpointAnswersOnEachOfItsSockets(t *testing.T) {
	var files []*os.File
	at := map[string][]string{}
	for _, name := range []string{listen.Admin, listen.Admin, listen.AgentCheck, listen.AgentCheck} {
		f, address := given(t, name, "127.0.0.1:0")
		files, at[name] = append(files, f), append(at[name], address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	log := &syncBuffer{}
	go func() {
		ended <- Program{
			Args:   []string{"--static-master=127.0.0.1:1", "--listen=127.0.0.1:0", "--agent-check-listen=127.0.0.1:1", "--log-format=json"},
			Stdout: io.Discard, Stderr: log, Activated: files,
		}.Run(ctx)
	}()
	defer func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("got exit code %d; want 0\n%s", code, log)
		}
	}()
	for _, address := range at[listen.Admin] {
		eventually(t, "readiness at "+address, func() bool {
			r, err := http.Get("http://" + address + "/readyz")
			if err != nil {
				return false
			}
			return r.Body.Close() == nil && r.StatusCode == http.StatusOK
		})
	}
	http.DefaultClient.CloseIdleConnections()
	for _, address := range at[listen.AgentCheck] {
		if got := agentSays(t, "tcp", address, ""); got != "up ready\n" {
			t.Errorf("agent check at %s: got %q; want up ready", address, got)
		}
	}
}

// TestEverySocketOfTheAdminEndpointsIsLocalOrNeedsAToken: one that is not is
// enough for others to drain the proxy.
func TestEverySocketOfTheAdminEndpointsIsLocalOrNeedsAToken(t *testing.T) {
	local, _ := given(t, listen.Admin, "127.0.0.1:0")
	open, _ := given(t, listen.Admin, "0.0.0.0:0")
	var errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	code := Program{
		Args:   []string{"--static-master=127.0.0.1:1", "--listen=127.0.0.1:0", "--log-format=json"},
		Stdout: io.Discard, Stderr: &errs, Activated: []*os.File{local, open},
	}.Run(ctx)
	if code == exitOK || !strings.Contains(errs.String(), "is not loopback: needs --admin-token-file") {
		t.Errorf("got code %d and %s; want it refused", code, errs.String())
	}
}
