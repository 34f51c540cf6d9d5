package proxy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Out of local ports is a shortage of this machine: nothing is said of the
// master, and accepting goes on, since other masters can be reached.
func TestOutOfPortsIsNoFaultOfTheMasters(t *testing.T) {
	p, address := running(t, Config{Shards: 1, HoldTimeout: time.Minute}, echo(t))
	var log bytes.Buffer
	onShard(p, 0, func(s *shard) { s.shared.log = zerolog.New(&log) })
	c := dialed(t, address)
	roundTrip(t, c, []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.conns.all(func(c *conn) {
			c.state = dialing
			c.dialFailed(s.loop, os.NewSyscallError("connect", unix.EADDRNOTAVAIL))
			s.noteShortage()
			if c.state != held || !s.accepting {
				t.Errorf("got state %v, accepting %v; want the client held, and new ones accepted", c.state, s.accepting)
			}
		})
	})
	roundTrip(t, c, []byte("again")) // another dial, another port
	onShard(p, 0, func(s *shard) { s.shared.log = nopLog })
	if got := log.String(); strings.Contains(got, "cannot be reached") || !strings.Contains(got, "no local port is left") {
		t.Errorf("log: got %q; want the shortage of ports, and no word of the master", got)
	}
	if got := p.Snapshot().Labels[0].DialErrors["EADDRNOTAVAIL"]; got != 1 {
		t.Errorf("dial errors: got %d; want 1", got)
	}
}

// Where some dials fail and others do not, a line each time would be one a client.
func TestDialsThatFailAndSucceedByTurnsAreSaidOnce(t *testing.T) {
	p, _ := running(t, Config{Shards: 1}, "")
	var log bytes.Buffer
	onShard(p, 0, func(s *shard) {
		s.shared.log = zerolog.New(&log)
		e, lb := newEpoch(1, elsewhere), p.labels[0]
		for range 5 {
			e.notReached(s.loop, lb, unix.ECONNREFUSED)
			e.reached(s.loop, lb)
		}
		e.trouble.lastWarn.Add(-int64(unreachableWarnings))
		e.notReached(s.loop, lb, unix.ECONNREFUSED)
		s.shared.log = nopLog
	})
	if began, ended := strings.Count(log.String(), "cannot be reached"), strings.Count(log.String(), "is reached again"); began != 2 || ended != 1 {
		t.Errorf("lines at the beginning and the end of trouble: got %d and %d; want 2 and 1, the second for one %v later", began, ended, unreachableWarnings)
	}
}

// TestConnectionThatReachedNobodyTellsOfItsLastDial: of the master that refused it,
// and that the rest of its time was spent waiting.
func TestConnectionThatReachedNobodyTellsOfItsLastDial(t *testing.T) {
	var line struct {
		Master          string
		Epoch           uint64
		Held            float64 `json:"held_ms"`
		Dial            float64 `json:"dial_ms"`
		Duration        float64 `json:"duration_ms"`
		Reason, Message string
	}
	l := &loop{now: int64(time.Second), shared: &shared{config: Config{LogConnections: true}, log: zerolog.New(logLines(func(s string) {
		if err := json.Unmarshal([]byte(s), &line); err != nil {
			t.Error(err)
		}
	}))}}
	lb := &label{name: "a"}
	lb.current.Store(newEpoch(3, Master{Address: netip.MustParseAddrPort("192.0.2.1:7800")}))
	const at = int64(100 * time.Millisecond)
	c := &conn{label: lb, accepted: at, waitingSince: at, dialled: 6 * at, dialTime: 1500, state: held}
	c.logClosed(l, ConnectFailed, nil)
	if line.Master != "192.0.2.1:7800" || line.Epoch != 3 || line.Held != 898.5 || line.Dial != 1.5 || line.Duration != 900 {
		t.Errorf("got %+v; want the master, held for 898.5 ms of 900, and a dial of 1.5", line)
	}
	c.epoch, c.state, c.dialTime = lb.current.Load(), dialing, 0
	c.logClosed(l, ClientReset, nil)
	if line.Held != 500 || line.Dial != 400 {
		t.Errorf("while it is dialled: got %+v; want held for 500 ms, and a dial of 400", line)
	}
	// Accepted, dialled and refused within one iteration of the loop.
	c = &conn{label: lb, accepted: l.now + at, waitingSince: l.now + at, dialled: l.now + 2*at, dialTime: 100_000, state: held}
	c.logClosed(l, ConnectFailed, nil)
	if line.Held != 100 || line.Dial != 100 || line.Duration != 200 {
		t.Errorf("refused at once: got %+v; want held for 100 ms, a dial of 100, and 200 in all", line)
	}
	// Its header was whole in this iteration, and it has left.
	c = &conn{label: lb, accepted: l.now - at, waitingSince: l.now + at, state: held}
	c.logClosed(l, ClientClosed, nil)
	if line.Held != 0 || line.Dial != 0 || line.Duration != 200 {
		t.Errorf("left at once behind its header: got %+v; want held for no time, and 200 ms in all", line)
	}
}
