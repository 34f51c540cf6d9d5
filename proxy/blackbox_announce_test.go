package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	pires "github.com/pires/go-proxyproto"
	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// The TLVs of the reference's table.
const (
	uniqueID = pires.PP2Type(0x05)
	label    = pires.PP2Type(0xE0)
	epoch    = pires.PP2Type(0xE1)
)

// announced is what a master is told of a connection.
type announced struct {
	version             byte
	command             pires.ProtocolVersionAndCommand
	source, destination string
	tlvs                map[pires.PP2Type]string
	rest                *bufio.Reader // the stream after it
}

// announcement reads the header that a connection to a master begins with.
func announcement(t testing.TB, server *net.TCPConn) announced {
	t.Helper()
	r := bufio.NewReader(server)
	h, err := pires.Read(r)
	if err != nil {
		t.Fatalf("header to the master: %v", err)
	}
	a := announced{version: h.Version, command: h.Command, tlvs: map[pires.PP2Type]string{}, rest: r}
	if h.SourceAddr != nil {
		a.source, a.destination = h.SourceAddr.String(), h.DestinationAddr.String()
	}
	tlvs, err := h.TLVs()
	if err != nil {
		t.Fatalf("TLVs to the master: %v", err)
	}
	for _, v := range tlvs {
		if _, twice := a.tlvs[v.Type]; twice {
			t.Errorf("TLV %#x came twice", v.Type)
		}
		a.tlvs[v.Type] = string(v.Value)
	}
	return a
}

// wantNext reads exactly text after the header.
func (a announced) wantNext(t testing.TB, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(a.rest, got); err != nil || string(got) != text {
		t.Fatalf("after the header: got %q, %v; want %q", got[:n], err, text)
	}
}

func (a announced) want(t testing.TB, version byte, source, destination string) {
	t.Helper()
	if a.version != version || a.command != pires.PROXY || a.source != source || a.destination != destination {
		t.Errorf("header to the master: got version %d, command %#x, %s to %s; want %d, PROXY, %s to %s",
			a.version, a.command, a.source, a.destination, version, source, destination)
	}
}

// sending is config with headers sent.
func sending(v proxy.ProxyVersion) proxy.Config {
	c := config()
	c.SendProxy = v
	return c
}

// TestMasterIsToldTheClientBeforeAnyByteOfIt: at once, so that a master that
// speaks first does.
func TestMasterIsToldTheClientBeforeAnyByteOfIt(t *testing.T) {
	for version := proxy.ProxyV1; version <= proxy.ProxyV2; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			noLeaks(t)
			r := newProxy(t, sending(version))
			m := newMaster(t, nil)
			r.set(m.addr)
			client := r.dial()
			server := m.next()
			a := announcement(t, server)
			a.want(t, byte(version), client.LocalAddr().String(), client.RemoteAddr().String())
			passes(t, server, client, "welcome")
			write(t, client, "hello")
			a.wantNext(t, "hello")
			info := r.Connections(proxy.Filter{})[0]
			if info.BytesUp != 5 || info.Source != "" {
				t.Errorf("bytes up, source: got %d, %q; want 5, none", info.BytesUp, info.Source)
			}
			want := map[pires.PP2Type]string{}
			if version == proxy.ProxyV2 {
				want = map[pires.PP2Type]string{uniqueID: strconv.FormatUint(info.ID, 10), label: "default", epoch: "1"}
			}
			if fmt.Sprint(a.tlvs) != fmt.Sprint(want) {
				t.Errorf("TLVs: got %v; want %v", a.tlvs, want)
			}
		})
	}
}

func TestMasterIsToldOfAnIPv6Client(t *testing.T) {
	noLeaks(t)
	c := sending(proxy.ProxyV1)
	c.Listeners[0].Address = "[::]:0"
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	port := netip.MustParseAddrPort(r.addrs["default"]).Port()
	for host, family := range map[string]string{"::1": "TCP6 ::1 ::1", "127.0.0.1": "TCP4 127.0.0.1 127.0.0.1"} {
		client, err := dialTCP(net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil {
			if host == "::1" {
				t.Logf("a machine without IPv6: %v", err)
				continue
			}
			t.Fatal(err)
		}
		defer client.Close()
		wantText(t, m.next(), fmt.Sprintf("PROXY %s %d %d\r\n", family, client.LocalAddr().(*net.TCPAddr).Port, port))
	}
}

// TestChainKeepsTheSource: whatever version came in.
func TestChainKeepsTheSource(t *testing.T) {
	noLeaks(t)
	for _, out := range []proxy.ProxyVersion{proxy.ProxyV1, proxy.ProxyV2} {
		c := accepting()
		c.SendProxy = out
		r := newAccepting(t, c)
		m := newMaster(t, nil)
		r.set(m.addr)
		for _, in := range []string{headerV1, headerV2(10)} {
			client := r.dial()
			write(t, client, in+"hello")
			a := announcement(t, m.next())
			a.want(t, byte(out), sourceV1, "198.51.100.2:443")
			a.wantNext(t, "hello")
			client.Close()
		}
		for _, in := range []string{localV2, "PROXY UNKNOWN\r\n"} { // on behalf of the peer: of nobody else is known
			client := r.dial()
			write(t, client, in)
			announcement(t, m.next()).want(t, byte(out), client.LocalAddr().String(), client.RemoteAddr().String())
			client.Close()
		}
	}
}

// TestEpochOfTheHeaderIsTheNewOneAfterAFailover: each connection to a master
// begins with one header, of its own epoch.
func TestEpochOfTheHeaderIsTheNewOneAfterAFailover(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, sending(proxy.ProxyV2))
	one, two := newMaster(t, nil), newMaster(t, nil)
	r.set(one.addr)
	live, server := r.pair(one)
	if a := announcement(t, server); a.tlvs[epoch] != "1" {
		t.Errorf("epoch: got %q; want 1", a.tlvs[epoch])
	}
	r.set(two.addr)
	wantEnd(t, "client of the old master", live, byRST)
	client := r.dial()
	a := announcement(t, two.next())
	if a.tlvs[epoch] != "2" {
		t.Errorf("epoch after the failover: got %q; want 2", a.tlvs[epoch])
	}
	write(t, client, "hello")
	a.wantNext(t, "hello")
}

// TestHeaderIsSentOnceWhenTheDialFallsToAnotherMaster covers a master that
// never answers, one that refuses, and then one that is there.
func TestHeaderIsSentOnceWhenTheDialFallsToAnotherMaster(t *testing.T) {
	noLeaks(t)
	c := sending(proxy.ProxyV2)
	c.ConnectTimeout = testTimeout
	r := newProxy(t, c)
	hung, _ := newHungMaster(t)
	refusing, _ := newRefusingMaster(t)
	r.set(hung)
	client := r.dial()
	write(t, client, "hello")
	r.waitState("dialing", 1)
	r.set(refusing)
	waitUntil(t, "a dial has failed", func() bool { return r.state().DialFailures > 0 })
	m := newMaster(t, nil)
	r.set(m.addr)
	server := m.next()
	a := announcement(t, server)
	if a.tlvs[epoch] != "3" {
		t.Errorf("epoch: got %q; want 3", a.tlvs[epoch])
	}
	a.wantNext(t, "hello")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if extra, err := io.ReadAll(a.rest); len(extra) > 0 || err != nil {
		t.Errorf("after the client's last byte: got %q, %v; want the end", extra, err)
	}
}

// TestClientsBytesAreIntactBehindTheHeader: copied first, spliced later.
func TestClientsBytesAreIntactBehindTheHeader(t *testing.T) {
	noLeaks(t)
	c := accepting()
	c.SendProxy = proxy.ProxyV2
	r := newAccepting(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	const n = 32 << 20
	client := r.dial()
	write(t, client, headerV2(100))
	sent := make(chan error, 1)
	go func() {
		err := send(client, &pattern{}, n, atOnce(1<<20))
		if err == nil {
			err = client.CloseWrite()
		}
		sent <- err
	}()
	server := m.next()
	a := announcement(t, server)
	if err := receiveAll(a.rest, &pattern{}, n, atOnce(1<<18)); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if s := r.state(); s.SplicedBytes == 0 {
		t.Error("spliced: got 0 bytes; want some")
	}
}

// TestOneProxyMayStandBehindAnother: what one sends the other takes.
func TestOneProxyMayStandBehindAnother(t *testing.T) {
	noLeaks(t)
	for version := proxy.ProxyV1; version <= proxy.ProxyV2; version++ {
		c := accepting("127.0.0.0/8")
		c.SendProxy = version
		inner := newAccepting(t, c)
		outer := newProxy(t, sending(version))
		m := newMaster(t, nil)
		inner.set(m.addr)
		outer.set(netip.MustParseAddrPort(inner.addrs["default"]))
		client := outer.dial()
		a := announcement(t, m.next())
		a.want(t, byte(version), client.LocalAddr().String(), client.RemoteAddr().String())
		inner.wantSource(client.LocalAddr().String())
	}
}

func TestConfigWhoseHeadersCannotBeIsRefused(t *testing.T) {
	long := sending(proxy.ProxyV2)
	long.Listeners[0].Label = strings.Repeat("l", 1025)
	vague := accepting()
	vague.AcceptProxyFrom = []netip.Prefix{{}}
	for says, c := range map[string]proxy.Config{"longer than the 1024 bytes": long, "not a prefix": vague} {
		if _, err := proxy.New(c, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v; want an error that says %q", err, says)
		}
	}
}

// TestMasterThatResetsAtOnceIsBlamed: as soon as it has heard of the client. One
// that resets before may look like one that took no connection, and is tried again.
func TestMasterThatResetsAtOnceIsBlamed(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, sending(proxy.ProxyV2))
	r.set(newMaster(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	}).addr)
	r.wantReset(20)
	r.wantClosed(map[proxy.Reason]uint64{proxy.MasterReset: 20})
}
