package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// headerTimeout is what the reference promises.
const headerTimeout = 3 * time.Second

const (
	headerV1 = "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"
	sourceV1 = "192.0.2.1:4711"
	localV2  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// headerV2 names 192.0.2.1:4711, and carries a TLV of the given length.
func headerV2(tlv int) string {
	return "\r\n\r\n\x00\r\nQUIT\n\x21\x11" + string([]byte{byte((15 + tlv) >> 8), byte(15 + tlv)}) +
		"\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x67\x01\xbb" + string([]byte{0x04, byte(tlv >> 8), byte(tlv)}) + strings.Repeat("x", tlv)
}

// accepting is config with headers expected.
func accepting(from ...string) proxy.Config {
	c := config()
	c.AcceptProxy = true
	for _, f := range from {
		c.AcceptProxyFrom = append(c.AcceptProxyFrom, netip.MustParsePrefix(f))
	}
	return c
}

// newAccepting is newProxy, with testTimeout for headers on a busy machine.
func newAccepting(t testing.TB, c proxy.Config) *relay {
	t.Helper()
	return newLogging(t, c, zerolog.Nop())
}

func newLogging(t testing.TB, c proxy.Config, log zerolog.Logger) *relay {
	t.Helper()
	p, err := proxy.New(c, log)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	p.SetHeaderTimeout(testTimeout)
	return serve(t, p)
}

// fixtures are headers of real senders, by name.
func fixtures(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../testdata/proxyproto/*.bin")
	if err != nil || len(names) == 0 {
		t.Fatalf("fixtures: got %d, %v; want some", len(names), err)
	}
	found := make(map[string]string)
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(n), ".bin")] = string(b)
	}
	return found
}

// wantSource waits until the only connection has the source.
func (r *relay) wantSource(want string) {
	r.t.Helper()
	waitEqual(r.t, "source", want, func() string {
		all := r.Connections(proxy.Filter{})
		if len(all) != 1 {
			return fmt.Sprintf("%d connections", len(all))
		}
		return all[0].Source
	})
}

func TestHeaderIsTakenAndWhatFollowsInTheSameSegmentArrives(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting("127.0.0.0/8"))
	m := newMaster(t, nil)
	r.set(m.addr)
	for name, header := range map[string]string{
		"version 1": headerV1, "version 2": headerV2(0), "version 2 with 2 KB of TLVs": headerV2(2048), "the longest": headerV2(4096 - 15),
	} {
		client := r.dial()
		write(t, client, header+"payload")
		server := m.next()
		wantText(t, server, "payload")
		r.wantSource(sourceV1)
		relays(t, client, server)
		info := r.Connections(proxy.Filter{})[0]
		if want := uint64(len("payload") + len("up")); info.BytesUp != want {
			t.Errorf("%s: bytes up: got %d; want %d, without the header", name, info.BytesUp, want)
		}
		if info.Client != client.LocalAddr().String() {
			t.Errorf("%s: client: got %s; want the peer %s", name, info.Client, client.LocalAddr())
		}
		client.Close()
		server.Close()
		r.waitActive(0)
	}
}

func TestHeaderThatComesByteByByteIsTaken(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	m := newMaster(t, nil)
	r.set(m.addr)
	var g errgroup.Group
	headers := fixtures(t)
	headers["with a long TLV"] = headerV2(300)
	for name, header := range headers {
		g.Go(func() error {
			c, err := dialTCP(r.addrs["default"])
			if err != nil {
				return err
			}
			defer c.Close()
			for i := range header { // no delay: every byte is a segment of its own
				if _, err := c.Write([]byte{header[i]}); err != nil {
					return fmt.Errorf("%s, byte %d: %w", name, i, err)
				}
			}
			if _, err := fmt.Fprintf(c, "%-40s", name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return ask(c)
		})
	}
	for range headers {
		server := m.next()
		name := make([]byte, 40)
		if _, err := readFull(server, name); err != nil || headers[strings.TrimSpace(string(name))] == "" {
			t.Errorf("after the header: got %q, %v; want the name of one", name, err)
		}
		g.Go(func() error { echo(server); return server.Close() })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	r.waitActive(0)
	if bad := r.state().Closed[proxy.BadProxyHeader]; bad != 0 {
		t.Errorf("refused headers: got %d; want 0", bad)
	}
}

func readFull(c *net.TCPConn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = c.Read(b[n:])
		n += m
	}
	return n, err
}

// TestSpliceWorksAfterAHeader: a header read into the process together with
// what follows would have to be told from it for good.
func TestSpliceWorksAfterAHeader(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	m := newMaster(t, nil)
	r.set(m.addr)
	const n = 64 << 20
	client := r.dial()
	var g errgroup.Group
	g.Go(func() error {
		sent := &pattern{}
		first := append([]byte(headerV1), bytes.Clone(sent.next(1000))...)
		if _, err := client.Write(first); err != nil {
			return err
		}
		if err := send(client, sent, n-1000, atOnce(1<<20)); err != nil {
			return err
		}
		return client.CloseWrite()
	})
	if err := receiveAll(m.next(), &pattern{}, n, atOnce(1<<18)); err != nil {
		t.Error(err)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if s := r.state(); s.SplicedBytes == 0 || s.BytesUp != n {
		t.Errorf("spliced, up: got %d, %d bytes; want some, %d", s.SplicedBytes, s.BytesUp, n)
	}
}

func TestHeaderOfNobodyLeavesTheSourceEmpty(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	r.set(newMaster(t, echo).addr)
	for _, header := range []string{localV2, "PROXY UNKNOWN\r\n", "PROXY UNKNOWN 1 2 3\r\n"} {
		client := r.dial()
		write(t, client, header)
		if err := ask(client); err != nil {
			t.Fatalf("%q: %v", header, err)
		}
		r.wantSource("")
		client.Close()
		r.waitActive(0)
	}
}

// TestSlowHeaderDoesNotEatIntoTheHoldTimeout: the client is held although its
// header took longer than it may be held, and counts as held from then on.
func TestSlowHeaderDoesNotEatIntoTheHoldTimeout(t *testing.T) {
	noLeaks(t)
	c := accepting()
	c.HoldTimeout = 2 * time.Second
	r := newAccepting(t, c)
	client := r.dial()
	accepted := time.Now()
	r.waitState("header", 1)
	if s := r.state(); s.Active != 1 || s.Held != 0 {
		t.Errorf("active, held: got %d, %d; want 1, 0", s.Active, s.Held)
	}
	waitUntil(t, "the hold timeout to pass", func() bool { return time.Since(accepted) > c.HoldTimeout+100*time.Millisecond })
	begin := time.Now()
	write(t, client, headerV1)
	wantEnd(t, "held client", client, byRST)
	if held := time.Since(begin); held < c.HoldTimeout {
		t.Errorf("held for %v; want at least %v", held, c.HoldTimeout)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.NoMaster: 1})
}

// TestHeaderWithFINBehindItIsServed: a request may be over before its answer begins.
func TestHeaderWithFINBehindItIsServed(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	client := r.dial()
	write(t, client, headerV1+"request")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r.waitHeld(1)
	r.set(newMaster(t, echo).addr)
	wantText(t, client, "request")
	wantEnd(t, "client", client, byFIN)
}

// TestWhatWaitedBehindAHeaderIsNotForgotten has all of it in the socket's queue
// before the first read, so that no later arrival wakes the proxy.
func TestWhatWaitedBehindAHeaderIsNotForgotten(t *testing.T) {
	for name, behind := range map[string]func(*net.TCPConn) error{
		"the end of the stream": (*net.TCPConn).CloseWrite,
		"urgent data":           sendUrgent, // at whose mark a read stops, as where the queue is empty
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			p, err := proxy.New(accepting(), zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			m := newMaster(t, nil)
			p.SetMaster("default", proxy.Master{Address: m.addr})
			client, err := dialTCP(p.Snapshot().Labels[0].Listen)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			write(t, client, headerV1)
			if err := behind(client); err != nil {
				t.Fatal(err)
			}
			serve(t, p)
			server := m.next()
			if n, err := server.Read(make([]byte, 1)); err != nil && err != io.EOF {
				t.Errorf("behind the header the master got %d bytes, %v; want what was sent", n, err)
			}
		})
	}
}

// TestFailoverCarriesAClientThatIsWithinItsHeader also moves the master twice.
func TestFailoverCarriesAClientThatIsWithinItsHeader(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	r.set(newMaster(t, announce('A')).addr)
	client, silent := r.dial(), r.dial()
	write(t, client, headerV1[:10])
	r.waitState("header", 2)
	if cut := r.set(newMaster(t, announce('B')).addr); cut.Dropped != 0 || cut.Carried != 2 {
		t.Errorf("dropped, carried: got %d, %d; want 0, 2", cut.Dropped, cut.Carried)
	}
	r.Lose("default", proxy.Loss{})
	r.set(newMaster(t, announce('C')).addr)
	r.waitState("header", 2)
	write(t, client, headerV1[10:])
	wantText(t, client, "C")
	write(t, silent, headerV2(0))
	wantText(t, silent, "C")
	r.wantClosed(nil)
}

func TestKillAndDrainReachAClientThatIsWithinItsHeader(t *testing.T) {
	noLeaks(t)
	r := newAccepting(t, accepting())
	client := r.dial()
	r.waitState("header", 1)
	if n, err := r.Kill("default"); n != 1 || err != nil {
		t.Errorf("killed: got %d, %v; want 1", n, err)
	}
	wantEnd(t, "killed client", client, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.Killed: 1})

	late := r.dial()
	r.waitState("header", 1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: got %v; want the deadline", err)
	}
	if _, how := ending(late); how != byRST && how != byFIN {
		t.Errorf("client at the deadline: got %s; want its end", how)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.Killed: 1, proxy.DrainDeadline: 1})
}
