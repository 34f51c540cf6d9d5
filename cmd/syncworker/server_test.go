package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// client talks lines to a worker.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

// ask sends one line and returns the first line of the answer.
func (c *client) ask(line string) string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(testTimeout))
	if _, err := fmt.Fprintln(c.conn, line); err != nil {
		c.t.Fatalf("ask %q: %v", line, err)
	}
	return readString(c.t, c.in)
}

func TestWorkerThatIsNotMasterRefusesWrites(t *testing.T) {
	s := &server{id: "2", store: newStore(), log: zerolog.Nop(), conns: make(map[net.Conn]bool)}
	c := dial(t, startServer(t, s))
	for _, line := range []string{"PUT c 1", "REPLICATE 3 x spare"} {
		if got, want := dial(t, c.conn.RemoteAddr().String()).ask(line), "ERR worker 2 is not master"; got != want {
			t.Errorf("%s got %q; want %q", line, got, want)
		}
	}
	if got := s.store.size(); got != 0 {
		t.Errorf("store got %d records; want 0", got)
	}
}

func TestMalformedRequestsAreAnsweredAndLongOnesEndTheConnection(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, time.Millisecond)
	s := &server{id: "1", store: tm.store, log: zerolog.Nop(), conns: make(map[net.Conn]bool)}
	s.term.Store(tm)
	c := dial(t, startServer(t, s))
	for _, line := range []string{"", "GET", "PUT", "PUT c", "PUT c -1", "PUT c 1 2", "PUT c/d 1", "PUT " + strings.Repeat("c", 65) + " 1"} {
		if got := c.ask(line); !strings.HasPrefix(got, "ERR ") {
			t.Errorf("%q got %q; want ERR", line, got)
		}
	}
	if got, want := c.ask("PUT c 1"), "OK 1 1 1"; got != want {
		t.Errorf("PUT after malformed requests got %q; want %q", got, want)
	}
	if got, want := c.ask("DUMP"), "RECORDS 1"; got != want {
		t.Errorf("DUMP got %q; want %q", got, want)
	}
	if got, want := readString(t, c.in), "c 1"; got != want {
		t.Errorf("DUMP got %q; want %q", got, want)
	}
	fmt.Fprint(c.conn, strings.Repeat("x", 4*maxLine))
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("connection lives after a line that is too long")
	}
}
