package prometheus

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// startConsul starts a double of Consul.
func startConsul(t *testing.T) *consultest.Server {
	t.Helper()
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	return s
}

// startMaster starts one that echoes, and answers its address.
func startMaster(t *testing.T) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			serving.Go(func() {
				defer stop()
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); serving.Wait() })
	return l.Addr().(*net.TCPAddr)
}

// service is an instance that claims to be the master of label.
func service(label string, at *net.TCPAddr) consultest.Service {
	return consultest.Service{
		ID: fmt.Sprintf("%s-%d", label, at.Port), Name: "sync", Address: "127.0.0.1", Port: at.Port, Tags: []string{"role=master", "label=" + label},
	}
}

// every has something done ten times a second until the test ends.
func every(t *testing.T, do func()) {
	t.Helper()
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				do()
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// connect is a client that stays until the test ends.
func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// request is a client that sends a line, takes what comes back, and goes.
func request(address string) {
	c, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	fmt.Fprintln(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}
