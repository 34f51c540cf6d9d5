package proxy_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// with are the lines with that message.
func (l *lines) with(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if line["message"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

func newLoggedProxy(t *testing.T, c proxy.Config) (*relay, *lines) {
	t.Helper()
	l := &lines{}
	return newLogging(t, c, zerolog.New(l)), l
}

// TestWhyAMasterCannotBeReachedIsSaidOnce: with its errno, and once more when it
// is over, however many clients try how often.
func TestWhyAMasterCannotBeReachedIsSaidOnce(t *testing.T) {
	noLeaks(t)
	var mu sync.Mutex
	calls := 0
	c := config()
	c.OnDialFailure = func(label string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if label != "default" || err == nil {
			t.Errorf("dial failure of %q: got %v; want an error of default", label, err)
		}
		calls++
	}
	r, log := newLoggedProxy(t, c)
	address, open := newRefusingMaster(t)
	began := time.Now()
	r.set(address)
	clients := []*net.TCPConn{r.dial(), r.dial(), r.dial()}
	waitUntil(t, "many failed dials", func() bool { return r.state().DialFailures >= 12 })
	if got := r.state(); got.DialErrors["ECONNREFUSED"] != got.DialFailures {
		t.Errorf("dial errors: got %v; want %d times ECONNREFUSED", got.DialErrors, got.DialFailures)
	}
	open(echo)
	for _, client := range clients {
		if err := ask(client); err != nil {
			t.Errorf("a client when the master accepts: %v", err)
		}
	}
	first, last := log.with(t, "master cannot be reached"), log.with(t, "master is reached again")
	if len(first) != 1 || len(last) != 1 {
		t.Fatalf("lines when the trouble began and ended: got %d and %d; want one each", len(first), len(last))
	}
	if l := first[0]; l["level"] != "warn" || l["label"] != "default" || l["master"] != address.String() || !strings.Contains(l["error"].(string), "connection refused") {
		t.Errorf("got %v; want a warning with label, master and errno", l)
	}
	mu.Lock()
	defer mu.Unlock()
	if most := 1 + int(time.Since(began)/time.Second); calls == 0 || calls > most {
		t.Errorf("OnDialFailure: got %d calls in %v; want some, and %d at most", calls, time.Since(began), most)
	}
}

// TestTroubleThatEndsByAFailoverIsSaidToBeOver: else the last that the log says of
// the label is that its master cannot be reached.
func TestTroubleThatEndsByAFailoverIsSaidToBeOver(t *testing.T) {
	noLeaks(t)
	r, log := newLoggedProxy(t, config())
	address, _ := newRefusingMaster(t)
	r.set(address)
	client := r.dial()
	waitUntil(t, "the warning", func() bool { return len(log.with(t, "master cannot be reached")) == 1 })
	r.set(newMaster(t, echo).addr)
	if err := ask(client); err != nil {
		t.Errorf("a client of the new master: %v", err)
	}
	over := log.with(t, "the master that could not be reached is master no more")
	if len(over) != 1 || over[0]["level"] != "info" || over[0]["master"] != address.String() {
		t.Errorf("got %v; want one line at info that names %v", over, address)
	}
}

// TestAMasterThatDoesNotAnswerIsSaidToTimeOut: the connect timeout is an errno as well.
func TestAMasterThatDoesNotAnswerIsSaidToTimeOut(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = 50 * time.Millisecond
	r, log := newLoggedProxy(t, c)
	address, _ := newHungMaster(t)
	r.set(address)
	r.dial()
	waitUntil(t, "a dial that timed out", func() bool { return r.state().DialErrors["ETIMEDOUT"] > 0 })
	lines := log.with(t, "master cannot be reached")
	if len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), "timed out") {
		t.Errorf("got %v; want one line that says that it timed out", lines)
	}
}

// TestAMasterThatIsTheProxyItselfIsRefused: one client would be connected to
// itself until max-conns are.
func TestAMasterThatIsTheProxyItselfIsRefused(t *testing.T) {
	noLeaks(t)
	own := []string{"127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLinkLocalUnicast() {
			own = append(own, ip.String())
		}
	}
	c := config()
	c.Listeners = []proxy.Listener{{Label: "default", Address: ":0"}, {Label: "other", Address: "127.0.0.1:0"}}
	r, log := newLoggedProxy(t, c)
	m := newMaster(t, echo)
	port := netip.MustParseAddrPort(r.addrs["default"]).Port()
	otherPort := netip.MustParseAddrPort(r.addrs["other"]).Port()
	loops := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), otherPort)}
	for _, ip := range own {
		loops = append(loops, netip.AddrPortFrom(netip.MustParseAddr(ip), port))
	}
	for i, loop := range loops {
		r.set(m.addr)
		if err := ask(r.dial()); err != nil {
			t.Fatalf("with a good master: %v", err)
		}
		if cut := r.set(loop); cut.ID == "" || cut.To != "" {
			t.Errorf("%v: got %+v; want a failover to none", loop, cut)
		}
		if cut := r.set(loop); cut.Epoch != 0 {
			t.Errorf("%v again: got %+v; want no change", loop, cut)
		}
		client := r.dial()
		waitUntil(t, "the client to be held", func() bool { return r.state().Held == 1 })
		if s := r.state(); !s.Loop || s.Master.Address.IsValid() || s.Active != 1 {
			t.Errorf("%v: loop %v, master %v, %d connections; want a loop, none, 1", loop, s.Loop, s.Master, s.Active)
		}
		if got := len(log.with(t, "the master is one of our own listeners: clients are held")); got != i+1 {
			t.Errorf("%v: got %d warnings; want %d", loop, got, i+1)
		}
		reset(t, client)
		waitUntil(t, "the client to have gone", func() bool { return r.state().Active == 0 })
	}
	// The same port of another address is another program's.
	if cut := r.set(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)); cut.To == "" || r.state().Loop {
		t.Errorf("a master elsewhere with our port: got %+v; want it taken", cut)
	}
	r.set(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), otherPort))
	if r.state().Loop {
		t.Error("a master at another loopback address than the listener's: got a loop; want it taken")
	}
}
