package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// accepting is a limitListener and what it accepted, in that order.
func accepting(t *testing.T, most int) (l *limitListener, connect func() (client net.Conn, server *conn)) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = limited(inner, &pool{max: most})
	t.Cleanup(func() { l.Close() })
	return l, func() (net.Conn, *conn) {
		t.Helper()
		client, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return client, server.(*conn)
	}
}

// wantClosed reads what only the end of a connection lets one read.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v; want the connection closed", err)
	}
}

func wantOpen(t *testing.T, client net.Conn, server *conn) {
	t.Helper()
	if _, err := server.Write([]byte("x")); err != nil {
		t.Errorf("got %v; want the connection open", err)
	}
	_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Errorf("got %v; want the connection open", err)
	}
}

func TestOldestIdleConnectionGoesForANewOne(t *testing.T) {
	_, connect := accepting(t, 3)
	oldest, busy := connect()
	busy.SetBusy(true)
	first, _ := connect()
	second, secondServer := connect()
	third, thirdServer := connect()
	wantClosed(t, first)
	wantOpen(t, oldest, busy)
	busy.SetBusy(false) // now it has been idle for the shortest time
	fourth, fourthServer := connect()
	wantClosed(t, second)
	wantOpen(t, oldest, busy)
	wantOpen(t, third, thirdServer)
	wantOpen(t, fourth, fourthServer)
	secondServer.SetBusy(true) // of one that is closed
}

func TestOldestBusyConnectionGoesWhereNoneIsIdle(t *testing.T) {
	l, connect := accepting(t, 2)
	first, firstServer := connect()
	second, secondServer := connect()
	firstServer.SetBusy(true)
	secondServer.SetBusy(true)
	third, thirdServer := connect()
	wantClosed(t, first)
	wantOpen(t, second, secondServer)
	wantOpen(t, third, thirdServer)
	for range 2 { // takes itself off once
		thirdServer.Close()
	}
	if got := l.pool.idle.Len() + l.pool.busy.Len(); got != 1 {
		t.Errorf("got %d connections counted; want 1", got)
	}
}

func TestPeerIsAnAddressOrAProcess(t *testing.T) {
	_, connect := accepting(t, 1)
	client, server := connect()
	if got := server.Peer(); got != client.LocalAddr().String() {
		t.Errorf("got %q; want %s", got, client.LocalAddr())
	}
	path := socketPath(t)
	e, err := openAdmin(t, path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	client, err = net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := e.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.(*conn).Peer(), fmt.Sprintf("pid %d uid %d", os.Getpid(), os.Getuid()); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

// failing is a listener whose first accepts fail.
type failing struct {
	net.Listener
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return l.Listener.Accept()
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
}

// TestShortageOfDescriptorsIsWaitedOut: whoever serves takes any error of
// Accept for the end, and the process ends with it.
func TestShortageOfDescriptorsIsWaitedOut(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limited(&failing{Listener: inner, errs: []error{syscall.EMFILE, syscall.ENOMEM, syscall.ECONNABORTED}}, &pool{max: 1})
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("got %v; want the connection that waited", err)
	}
	c.Close()
	l.Listener.(*failing).errs = []error{syscall.EINVAL}
	if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v; want the error of a listener that is broken", err)
	}
	l.Listener.(*failing).errs = slices.Repeat([]error{syscall.EMFILE}, 1000)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v; want the shortage to end with the listener", err)
	}
}
