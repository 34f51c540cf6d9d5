package proc

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0000000000000000 100 0 0 10 0
   1: 0100007F:A000 0100007F:2134 01 00000000:00000000 02:00000A1B 00000000     0        0 1002 2 0000000000000000 20 4 30 10 -1
   2: 0100007F:A001 0100007F:2135 01 00000000:00000000 02:00000A1B 00000000     0        0 1003 2 0000000000000000 20 4 30 10 -1
   1: 0100007F:A000 0100007F:2134 01 00000000:00000000 02:00000A1B 00000000     0        0 1002 2 0000000000000000 20 4 30 10 -1
   3: 0100007F:2134 0100007F:A000 01 00000000:00000000 02:00000A1B 00000000     0        0 1004 2 0000000000000000 20 4 30 10 -1
`

func TestSocketsAreFoundByTheirOtherSide(t *testing.T) {
	got, err := socketsTo([]byte(table), netip.MustParseAddrPort("127.0.0.1:8500"))
	if err != nil || len(got) != 1 || !got["1002"] {
		t.Errorf("sockets to port 8500: got %v, %v; want 1002 alone", got, err)
	}
	if got, err := socketsTo([]byte("heading\n 0: 0100007F:4E20 00000000:0000\n"), netip.MustParseAddrPort("127.0.0.1:8500")); err == nil {
		t.Errorf("a row that is too short: got %v; want an error", got)
	}
}

// Only those count that the process itself has open: another's, and the other
// end of its own, are in the same table.
func TestConnectionsAreThoseThatTheProcessHasOpened(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	const want = 3
	for range want {
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	own := &Process{pids: []int{os.Getpid()}}
	await(t, "all that it has dialled are found", func() bool { // one may be missing while the table changes
		got, err := own.Connections(at)
		if got > want || err != nil {
			t.Fatalf("connections of the one that dialled: got %d, %v; want %d", got, err, want)
		}
		return got == want
	})
	other := start(t, "sleep", "600")
	tree(t, other)
	if got, err := other.Connections(at); got != 0 || err != nil {
		t.Errorf("connections of another process: got %d, %v; want none", got, err)
	}
	if got, err := own.Connections(netip.AddrPortFrom(at.Addr(), at.Port()+1)); got != 0 || err != nil {
		t.Errorf("connections to another port: got %d, %v; want none", got, err)
	}
	if got, err := (&Process{pids: []int{1 << 30}}).Connections(at); err == nil {
		t.Errorf("connections of no process: got %d; want an error", got)
	}
}
