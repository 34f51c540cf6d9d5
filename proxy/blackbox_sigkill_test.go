package proxy_test

import (
	"net"
	"testing"
)

// TestKilledProcessDeliversNothingMoreAndLooksLikeNoEnd kills a proxy by
// SIGKILL, as the OOM killer does. What its sockets hold is not delivered, and
// no stream ends by FIN: a master that has been replaced would read on, a
// client take half an answer for the whole.
func TestKilledProcessDeliversNothingMoreAndLooksLikeNoEnd(t *testing.T) {
	m := newMaster(t, nil)
	p := newChild(t, "proxy")
	address := p.ask("serve %s 1024 100", m.addr)
	type pair struct{ client, server *net.TCPConn }
	open := func() pair {
		client, err := dialTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		c := pair{client, m.next()}
		smallBuffer(t, c.client)
		smallBuffer(t, c.server)
		relays(t, c.client, c.server)
		return c
	}
	up, down, half, idle := open(), open(), open(), open()
	sentUp, err := sendUntilBlocked(up.client, &pattern{}, atOnce(1<<16))
	if err != nil {
		t.Fatal(err)
	}
	sentDown, err := sendUntilBlocked(down.server, &pattern{}, atOnce(1<<16))
	if err != nil {
		t.Fatal(err)
	}
	passes(t, half.server, half.client, "half an answer")

	p.kill()
	if n := countSockets(t, nil, m.addr); n != 0 {
		t.Errorf("connections to the master without a process: got %d; want 0", n)
	}
	if data, how := ending(up.server); how != byRST || len(data) >= sentUp {
		t.Errorf("master that had not been reading: got %d bytes of %d, then %s; want what it had already, then %s", len(data), sentUp, how, byRST)
	}
	if data, how := ending(down.client); how != byRST || len(data) >= sentDown {
		t.Errorf("client that had not been reading: got %d bytes of %d, then %s; want what it had already, then %s", len(data), sentDown, how, byRST)
	}
	wantEnd(t, "client with half an answer", half.client, byRST)
	wantEnd(t, "idle master", idle.server, byRST)
	wantEnd(t, "idle client", idle.client, byRST)
}
