package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeWorker answers STATUS and DUMP.
func fakeWorker(t *testing.T, id, inSync string, held ...string) *worker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			if line == "STATUS\n" {
				fmt.Fprintf(conn, "STATUS id=%s in-sync=%s\n", id, inSync)
			} else {
				fmt.Fprintf(conn, "RECORDS %d\n%s", len(held), strings.Join(append(held, ""), "\n"))
			}
			conn.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return &worker{id: id, addr: ln.Addr().String()}
}

func TestSummaryPassesOnlyWithoutLossStaleConnectionsAndBreaks(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *demo)
		slave []string
		want  string // empty: passes
	}{
		"all well":                         {func(*demo) {}, []string{"a 1", "a 2", "b 7"}, ""},
		"slave lacks one":                  {func(*demo) {}, []string{"a 1"}, "acknowledged records lost             1"},
		"acknowledged and nowhere":         {func(d *demo) { d.ledger.ack("a", 3, "1", 1, time.Now()) }, []string{"a 1", "a 2"}, "acknowledged records lost             1"},
		"a socket to a replaced master":    {func(d *demo) { d.staleSockets = 1 }, []string{"a 1", "a 2"}, "stale connections                     1"},
		"an answer from a replaced master": {func(d *demo) { d.ledger.fence(2, "2"); d.ledger.refuse("2") }, []string{"a 1", "a 2"}, "stale connections                     1"},
		"the upgrade broke one":            {func(d *demo) { d.upgradeBroke = 1 }, []string{"a 1", "a 2"}, "broken by the upgrade                 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			d := &demo{stage: stage{scr: &screen{out: &out}}, watch: newWatch(&consul{}), ledger: newLedger()}
			d.workers = []*worker{fakeWorker(t, "1", "2", "a 1", "a 2"), fakeWorker(t, "2", "", c.slave...)}
			d.watch.set(map[string]string{"1": "master", "2": "slave"}, time.Now())
			d.ledger.ack("a", 1, "1", 1, time.Now())
			d.ledger.ack("a", 2, "1", 1, time.Now())
			c.spoil(d)
			passed, err := d.summary(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := c.want == ""; passed != want || !strings.Contains(out.String(), c.want) {
				t.Errorf("passed got %v; want %v; output\n%s\nwant %q in it", passed, want, out.String(), c.want)
			}
		})
	}
}
