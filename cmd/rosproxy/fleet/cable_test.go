package fleet_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"
)

// What the instances of these tests are told, and what that promises. A peer
// that is gone is found by the keepalive when nothing is on its way to it: the
// first probe after --keepalive of silence, the end --user-timeout later at
// the latest. What is on its way and not acknowledged ends the connection
// after --user-timeout.
const (
	keepalive   = 2 * time.Second
	userTimeout = 3 * time.Second
	// slack is for a machine that is busy with other things. Without the flags
	// it would take from a quarter of an hour to two hours.
	slack = 8 * time.Second
)

func TestPeerWhoseCableIsPulledIsFoundInTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		host   string // whose cable is pulled
		talk   string // what the client says before
		talks  bool   // and after
		within time.Duration
		reason string
	}{
		{"master, idle", "one", "once", false, keepalive + userTimeout, "master_reset"},
		{"master, bytes on their way to it", "one", "once", true, userTimeout, "master_reset"},
		{"client, idle", "client", "once", false, keepalive + userTimeout, "client_reset"},
		{"client, bytes on their way to it", "client", talkOn, false, userTimeout, "client_reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newHosts(t)
			f.one = startMaster(t, "one", f.network.hosts["one"])
			f.a = newInstance(t, "a", f.network.hosts["a"], "--static-master=10.77.0.21:7800",
				fmt.Sprint("--keepalive=", keepalive), fmt.Sprint("--user-timeout=", userTimeout))
			f.a.start()
			client, err := f.network.hosts["client"].dial(t.Context(), net.JoinHostPort(f.a.host.ip, proxyPort))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_ = client.SetDeadline(time.Now().Add(testTimeout))
			if _, err := fmt.Fprintln(client, c.talk); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(client).ReadString('\n'); err != nil {
				t.Fatalf("first answer: got %q, %v; want one", line, err)
			}

			pulled := time.Now()
			f.network.hosts[c.host].unplug()
			for tick := time.Tick(100 * time.Millisecond); len(f.a.logged("connection closed")) == 0; <-tick {
				if time.Since(pulled) > c.within+slack {
					t.Fatalf("connection is still there %v after the cable was pulled; want its end after %v", time.Since(pulled), c.within)
				}
				if c.talks {
					_, _ = fmt.Fprintln(client, "again") // until it is reset
				}
			}
			l := f.a.logged("connection closed")[0]
			if l.Reason != c.reason {
				t.Errorf("reason: got %q; want %q: %s", l.Reason, c.reason, l.text)
			}
			t.Logf("found after %v; promised: %v", l.Time.Sub(pulled).Round(time.Millisecond), c.within)
			if took := l.Time.Sub(pulled); took > c.within+slack {
				t.Errorf("found after %v; want %v", took, c.within)
			}
			f.wantOtherSideReset(c.host, client)
		})
	}
}

// wantOtherSideReset checks that the peer whose cable is in place has been told.
func (f *fleet) wantOtherSideReset(pulled string, client net.Conn) {
	f.t.Helper()
	if pulled == "client" {
		eventually(f.t, "the master to be rid of its client", func() bool { return f.one.connections() == 0 })
		return
	}
	if _, err := bufio.NewReader(client).ReadString('\n'); howEnded(err) != "RST" {
		f.t.Errorf("client of a master that is gone: got %v; want a reset", err)
	}
}
