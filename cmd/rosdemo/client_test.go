package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

const testTimeout = 20 * time.Second

// answers accepts one connection for each list and answers its lines in turn;
// an empty answer resets the connection, and so does the end of the list.
func answers(t *testing.T, lists ...[]string) (addr string, asked <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, list := range lists {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			for _, answer := range list {
				line, err := in.ReadString('\n')
				if err != nil {
					break
				}
				lines <- line
				if answer == "" {
					break
				}
				fmt.Fprintln(conn, answer)
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), lines
}

func TestClientRepeatsARecordUntilItIsAcknowledged(t *testing.T) {
	addr, asked := answers(t,
		[]string{"OK 1 1 1", ""},               // 2 is not answered
		[]string{"ERR worker 2 is not master"}, // 2 is refused
		[]string{"OK 1 1 1"},                   // an answer to something else
		[]string{"OK 2 3 2", "OK 3 3 2"},
	)
	p := &rosproxy{listen: addr, process: &process{done: make(chan struct{})}}
	p.ready.Store(true)
	b, l := &balancer{}, newLedger()
	b.add(p)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	c := &client{name: "a", balancer: b, ledger: l}
	go func() {
		for l.count().acked < 3 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	c.run(ctx, ctx)
	var got string
	for range 6 {
		got += <-asked
	}
	if want := "PUT a 1\nPUT a 2\nPUT a 2\nPUT a 2\nPUT a 2\nPUT a 3\n"; got != want {
		t.Errorf("client asked %q; want %q", got, want)
	}
	n := l.count()
	if l.acked["a"] != 3 || n.refused != 2 || n.broken != 1 {
		t.Errorf("got %d acknowledged, %d refused, %d broken; want 3, 2, 1", l.acked["a"], n.refused, n.broken)
	}
}

func TestRefusalNamesTheWorker(t *testing.T) {
	for line, want := range map[string]string{
		"ERR worker 2 is not master":      "2",
		"ERR worker b: no longer master":  "b",
		"ERR unknown request \"GET\"":     "",
		"":                                "",
		"HTTP/1.1 400 Bad Request worker": "",
	} {
		if got := refusal(line).worker(); got != want {
			t.Errorf("%q got worker %q; want %q", line, got, want)
		}
	}
}
