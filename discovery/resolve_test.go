package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// fakeDNS resolves what it was told, and hangs or fails for the rest.
type fakeDNS struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
	asked map[string]int
	hang  bool
}

func newFakeDNS() *fakeDNS {
	return &fakeDNS{names: make(map[string][]netip.Addr), asked: make(map[string]int)}
}

func (d *fakeDNS) set(host string, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[host] = nil
	for _, a := range addrs {
		d.names[host] = append(d.names[host], netip.MustParseAddr(a))
	}
}

func (d *fakeDNS) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	d.mu.Lock()
	d.asked[host]++
	addrs, hang := slices.Clone(d.names[host]), d.hang
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func (d *fakeDNS) count(host string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[host]
}

func TestMasterWithAHostName(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.5", "127.0.0.4", "::1") // in no order
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	r := startWith(t, quick(s.Addr), dns.lookup)
	const first, second = "default set 127.0.0.4:7801", "default set 127.0.0.7:7801"
	r.calls(first)

	// A new answer of the resolver alone is no failover.
	dns.set("worker.example", "127.0.0.7")
	r.heard(0)
	asked := dns.count("worker.example")
	r.heard(0)
	r.calls(first)
	if again := dns.count("worker.example"); again != asked {
		t.Errorf("resolved %d times more while nothing changed; want none", again-asked)
	}

	// A change of the registration is looked up; when that fails the old resolution stays.
	dns.set("worker.example")
	s.SetTags("sync-1", "role=master", "changed")
	await(t, "a look-up", func() bool { return dns.count("worker.example") > asked })
	r.heard(0)
	r.calls(first)
	s.SetTags("sync-1")
	r.calls(first, "default clear")
	s.SetTags("sync-1", "role=master")
	r.calls(first, "default clear", first)
	dns.set("worker.example", "127.0.0.7")
	r.calls(first, "default clear", first, second)
}

func TestNameOfTheWinnerIsResolvedFirst(t *testing.T) {
	a := answer{kind: claimed, candidates: []candidate{
		{id: "old", host: "hangs.example", port: 1, modify: 5},
		{id: "new", host: "worker.example", port: 2, modify: 6},
	}}
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.4")
	n := newNames(1, func(ctx context.Context, host string) ([]netip.Addr, error) {
		if host == "hangs.example" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return dns.lookup(ctx, host)
	}, 50*time.Millisecond)
	n.resolve(t.Context(), &a)
	if m := elect(a.candidates).winner; m.Address != addr("127.0.0.4:2") {
		t.Errorf("got winner %+v; want that at 127.0.0.4:2", m)
	}
	if len(a.rejects) != 1 || !strings.Contains(a.rejects[0].String(), "hangs.example") {
		t.Errorf("got rejects %v; want the one that hangs", a.rejects)
	}
}

func TestNamesThatAreGoneAreForgottenOnceThereAreMany(t *testing.T) {
	n := newNames(1, func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.4")}, nil
	}, time.Second)
	for i := range 3 * maxNames {
		a := answer{kind: claimed, candidates: []candidate{{id: "x", host: fmt.Sprintf("w%d.example", i), port: 1}}}
		n.resolve(t.Context(), &a)
	}
	if len(n.addrs) > maxNames+1 {
		t.Errorf("got %d resolutions kept; want at most %d", len(n.addrs), maxNames+1)
	}
}

func TestMasterWhoseNameDoesNotResolveIsUnknown(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	r := startWith(t, quick(s.Addr), dns.lookup)
	r.calls(set1)
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	await(t, "a warning", func() bool { return r.log.count("warn", "worker.example") > 0 })
	r.heard(0)
	r.calls(set1)
	r.state(Found, 1)
	dns.set("worker.example", "127.0.0.4")
	r.calls(set1, "default set 127.0.0.4:7801")
}

func TestHangingResolverDoesNotHoldUpAnotherLabel(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Txn(func(t *consultest.Tx) {
		t.SetTags("sync-1", "role=master", "label=a")
		t.SetAddress("sync-1", "worker.example", 7801)
		t.Register(consultest.Service{ID: "b-1", Name: "sync", Port: 7811, Tags: []string{"role=master", "label=b"}})
	})
	dns := newFakeDNS()
	dns.hang = true
	c := quick(s.Addr)
	c.ResolveTimeout = testTimeout * 2
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "b", Tagged: true}}
	r := startWith(t, c, dns.lookup)
	r.calls("b set 127.0.0.1:7811")
	s.Txn(func(t *consultest.Tx) { t.SetAddress("b-1", "127.0.0.2", 7811) })
	r.calls("b set 127.0.0.1:7811", "b set 127.0.0.2:7811")
	if dns.count("worker.example") == 0 {
		t.Error("the name of label a's master was never looked up")
	}
}

func TestResolveOneIsTheSameInAnyOrder(t *testing.T) {
	for _, tc := range []struct {
		addrs []string
		want  string
	}{
		{[]string{"10.0.0.2", "10.0.0.1", "10.0.0.3"}, "10.0.0.1"},
		{[]string{"::1", "fd00::1", "10.0.0.9"}, "10.0.0.9"},
		{[]string{"::ffff:10.0.0.1", "10.0.0.2"}, "10.0.0.1"},
		{[]string{"0.0.0.0", "10.0.0.2"}, "10.0.0.2"},
		{[]string{"0.0.0.0"}, ""},
		{nil, ""},
	} {
		dns := newFakeDNS()
		dns.set("h", tc.addrs...)
		got, err := resolveOne(t.Context(), dns.lookup, "h")
		if (err == nil) != (tc.want != "") || err == nil && got.String() != tc.want {
			t.Errorf("%v: got %v, %v; want %q", tc.addrs, got, err, tc.want)
		}
		if err != nil && !strings.Contains(err.Error(), "resolve h") {
			t.Errorf("%v: got error %v; want it to name the host", tc.addrs, err)
		}
		var dnsErr *net.DNSError
		if tc.addrs == nil && !errors.As(err, &dnsErr) {
			t.Errorf("got error %v; want it to wrap the resolver's", err)
		}
	}
}
