package main

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	pires "github.com/pires/go-proxyproto"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// TestSourceGoesFromTheBalancerToTheMaster is the whole way, and all the
// places that the source is seen at.
func TestSourceGoesFromTheBalancerToTheMaster(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := startProgram(t, "--static-master="+l.Addr().String(),
		"--accept-proxy=on", "--accept-proxy-from=127.0.0.0/8", "--send-proxy=v2")
	p.awaitReady()

	c := p.dial()
	if _, err := fmt.Fprint(c, "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nhello\n"); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(server)
	h, err := pires.Read(r)
	if err != nil {
		t.Fatalf("header to the master: %v", err)
	}
	if got := h.SourceAddr.String() + " " + h.DestinationAddr.String(); got != "192.0.2.1:4711 198.51.100.2:443" {
		t.Errorf("header to the master: got %s; want what the client's said", got)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("after the header: got %q, %v; want hello", line, err)
	}

	var live []api.Connection
	p.request("GET", "/connections", &live)
	if len(live) != 1 || live[0].Source != "192.0.2.1:4711" || live[0].Client != c.LocalAddr().String() || live[0].BytesUp != 6 {
		t.Fatalf("got connections %+v; want one with its source and 6 bytes up", live)
	}
	tlvs, err := h.TLVs()
	want := []pires.TLV{
		{Type: 0x05, Value: []byte(strconv.FormatUint(live[0].ID, 10))},
		{Type: 0xE0, Value: []byte("default")},
		{Type: 0xE1, Value: []byte(strconv.FormatUint(live[0].Epoch, 10))},
	}
	if err != nil || fmt.Sprint(tlvs) != fmt.Sprint(want) {
		t.Errorf("got TLVs %v, %v; want %v", tlvs, err, want)
	}

	waiting := p.dial()
	eventually(t, "the state of one without a header", func() bool {
		p.request("GET", "/connections", &live)
		return len(live) == 2 && slices.ContainsFunc(live, func(c api.Connection) bool { return c.State == "header" && c.Source == "" })
	})
	fmt.Fprint(waiting, "no header")
	waiting.isReset()
	c.Close()
	server.Close()
	eventually(t, "both lines of the log", func() bool { return len(p.log.lines(t, "connection closed")) == 2 })
	for _, line := range p.log.lines(t, "connection closed") {
		switch line["reason"] {
		case "bad_proxy_header":
			if line["error"] != "no PROXY protocol header" || line["source"] != "" {
				t.Errorf("got %v; want the fault, and no source", line)
			}
		default:
			if line["source"] != "192.0.2.1:4711" || line["error"] != nil {
				t.Errorf("got %v; want the source, and no fault", line)
			}
		}
	}
	if got := p.metric(`connections_closed_total{label="default",reason="bad_proxy_header"}`); got != 1 {
		t.Errorf("got %v closed for bad_proxy_header; want 1", got)
	}
}

func TestUntrustedPeerIsReset(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String(), "--accept-proxy=on", "--accept-proxy-from=192.0.2.1")
	p.awaitReady()
	c, err := net.DialTimeout("tcp", p.label().Listen, testTimeout)
	if err == nil { // else it was reset before the handshake was seen to end
		defer c.Close()
	}
	const counter = `connections_closed_total{label="default",reason="untrusted_peer"}`
	eventually(t, "the untrusted peer to be counted", func() bool { return p.metric(counter) == 1 })
	if got := p.label(); got.Accepted != 1 || got.Active != 0 {
		t.Errorf("got %d accepted, %d active; want 1, 0", got.Accepted, got.Active)
	}
}

func TestOpenAcceptProxyIsWarnedOfAtStart(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String(), "--accept-proxy=on")
	p.saysOnce("--accept-proxy on without --accept-proxy-from: any peer may name any source", "level", "warn")
}
