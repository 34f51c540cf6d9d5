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
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
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

	// A new answer of the name server alone is no failover.
	dns.set("worker.example", "127.0.0.7")
	r.heard(0)
	asked := dns.count("worker.example")
	r.heard(0)
	r.calls(first)
	if again := dns.count("worker.example"); again != asked {
		t.Errorf("looked up %d times more while nothing changed; want none", again-asked)
	}

	// A change of the registration is looked up; when that fails the old address stays.
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
	r.logged(1, "warn", "worker.example")
	r.logged(1, "info", "worker.example")
}

// TestSilentNameServerOfALosingCandidateDelaysNobody: neither at the start nor
// when another one wins.
func TestSilentNameServerOfALosingCandidateDelaysNobody(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "silent.example", 7801) })
	s.SetTags("sync-2", "role=master") // newer
	dns := newFakeDNS()
	dns.hang = true
	c := quick(s.Addr)
	c.ResolveTimeout = time.Hour
	r := startWith(t, c, dns.lookup)
	r.calls(set2)
	s.Register(consultest.Service{ID: "sync-3", Name: "sync", Port: 7803, Tags: []string{"role=master"}})
	r.calls(set2, "default set 127.0.0.1:7803")
	if n := dns.count("silent.example"); n != 0 {
		t.Errorf("looked the losing candidate up %d times; want never", n)
	}
	r.state(Found, 3)
}

// TestWinnerWhoseNameServerIsSilentIsOvertaken by the next winner, whose
// address is known.
func TestWinnerWhoseNameServerIsSilentIsOvertaken(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	dns.hang = true
	c := quick(s.Addr)
	c.ResolveTimeout = time.Hour
	r := startWith(t, c, dns.lookup)
	r.calls(set1)
	s.Register(consultest.Service{ID: "sync-3", Name: "sync", Address: "silent.example", Port: 7803, Tags: []string{"role=master"}})
	r.state(Found, 2)
	await(t, "a look-up", func() bool { return dns.count("silent.example") > 0 })
	r.calls(set1)
	s.SetTags("sync-2", "role=master")
	r.calls(set1, set2)
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

// TestWhyThereIsNoMasterNamesTheHostThatIsLookedUp: at the start, and after the loss
// of another master.
func TestWhyThereIsNoMasterNamesTheHostThatIsLookedUp(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	r := startWith(t, quick(s.Addr), dns.lookup)
	const failed = `the host name "worker.example" of the master cannot be looked up`
	await(t, "why, at the start", func() bool { l := r.Labels()[0]; return l.State == Starting && l.Why == failed })
	s.SetTags("sync-1")
	s.SetTags("sync-2", "role=master")
	r.state(Found, 1)
	s.SetTags("sync-2")
	await(t, "nobody", func() bool { l := r.Labels()[0]; return l.State == None && l.Why == "" })
	s.SetTags("sync-1", "role=master")
	await(t, "why, after a loss", func() bool { l := r.Labels()[0]; return l.State == None && l.Why == failed })
	dns.set("worker.example", "127.0.0.4")
	await(t, "a master", func() bool { l := r.Labels()[0]; return l.State == Found && l.Why == "" })
}

// TestNameServerThatFailsWhileDialsFailIsReported once, when that begins, and once
// when it ends; the master stays.
func TestNameServerThatFailsWhileDialsFailIsReported(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.4")
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	r := startWith(t, quick(s.Addr), dns.lookup)
	r.calls("default set 127.0.0.4:7801")
	dns.set("worker.example")
	r.DialFailed("default")
	await(t, "a warning that says what is kept", func() bool { return r.log.count("warn", `"kept":"127.0.0.4"`) > 0 })
	before := dns.count("worker.example")
	await(t, "further look-ups", func() bool { return dns.count("worker.example") > before+3 })
	dns.set("worker.example", "127.0.0.4")
	await(t, "the end of the trouble", func() bool { return r.log.count("info", "worker.example") > 0 })
	if warned := r.log.count("warn", "worker.example"); warned != 1 {
		t.Errorf("got %d warnings; want one", warned)
	}
	r.calls("default set 127.0.0.4:7801")
}

// TestLookUpThatFailsGoesOn, and no other is begun beside it.
func TestLookUpThatFailsGoesOn(t *testing.T) {
	dns := newFakeDNS()
	r := newResolver(dns.lookup, time.Second, waiting.Backoff{First: time.Millisecond, Most: time.Millisecond})
	defer r.close()
	r.start(t.Context(), "worker.example")
	if f := <-r.results; f.err == nil || !r.accept(f) || !r.busy {
		t.Errorf("got %+v, busy %t; want an error, and that it goes on", f, r.busy)
	}
	dns.set("worker.example", "127.0.0.4")
	if f := <-r.results; f.err != nil || !r.accept(f) || r.busy {
		t.Errorf("got %+v, busy %t; want the address, and that it is over", f, r.busy)
	}
}

// accepting says who accepts connections. Safe for concurrent use.
type accepting struct {
	mu    sync.Mutex
	who   []string
	tried int
}

func (a *accepting) set(who ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.who = who
}

func (a *accepting) connect(_ context.Context, to netip.AddrPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tried++
	if slices.Contains(a.who, to.String()) {
		return nil
	}
	return errors.New("connection refused")
}

func (a *accepting) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tried
}

// dialsFail keeps saying that dials to label fail, as a proxy with clients does, until the test ends.
func dialsFail(t *testing.T, s Source, label string) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				s.DialFailed(label)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// TestAddressesOfANameAreTriedWhileDialsFail: the next one that accepts is the
// master; one that still accepts stays, whatever the hints say.
func TestAddressesOfANameAreTriedWhileDialsFail(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns, up := newFakeDNS(), &accepting{}
	dns.set("worker.example", "127.0.0.6", "127.0.0.5", "127.0.0.4")
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	up.set("127.0.0.4:7801", "127.0.0.5:7801")
	r := startWith(t, quick(s.Addr), dns.lookup, func(c *Consul, _ *recorder) {
		c.labels[0].resolver.connect, c.labels[0].resolver.often = up.connect, 10*time.Millisecond
	})
	const four, five, six = "default set 127.0.0.4:7801", "default set 127.0.0.5:7801", "default set 127.0.0.6:7801"
	r.calls(four)
	dialsFail(t, r.Consul, "default")
	searched := func() {
		t.Helper()
		n := up.count()
		await(t, "all addresses tried", func() bool { return up.count() >= n+6 })
	}
	searched()
	r.calls(four) // it accepts
	up.set()
	searched()
	r.calls(four) // nobody does
	up.set("127.0.0.6:7801")
	r.calls(four, six)
	up.set("127.0.0.6:7801", "127.0.0.4:7801")
	searched()
	r.calls(four, six) // and not back again

	// A new registration of the same name keeps the way that works, and so does a return.
	s.SetTags("sync-1", "role=master", "changed")
	r.heard(0)
	s.SetTags("sync-1")
	r.calls(four, six, "default clear")
	s.SetTags("sync-1", "role=master")
	r.calls(four, six, "default clear", six)

	// The name moves, and has one address only: nobody needs to be asked.
	dns.set("worker.example", "127.0.0.5")
	r.calls(four, six, "default clear", six, five)
}

func TestHintOfFailedDialsIsNothingForAnAddress(t *testing.T) {
	t.Parallel()
	s := double(t)
	up := &accepting{}
	r := start(t, quick(s.Addr), func(c *Consul, _ *recorder) {
		c.labels[0].resolver.connect, c.labels[0].resolver.often = up.connect, 10*time.Millisecond
	})
	r.calls(set1)
	dialsFail(t, r.Consul, "default")
	r.DialFailed("no such label")
	r.heard(0)
	r.calls(set1)
	if up.count() > 0 {
		t.Errorf("tried %d addresses; want none", up.count())
	}
}

// TestWhatIsFoundForAFormerMasterIsIgnored: its look-up may end when another
// one's has begun.
func TestWhatIsFoundForAFormerMasterIsIgnored(t *testing.T) {
	dns := newFakeDNS()
	dns.hang = true
	r := newResolver(dns.lookup, time.Hour, waiting.Backoff{})
	defer r.close()
	r.start(t.Context(), "former.example")
	late := lookupResult{task: r.task, host: "former.example", addr: netip.MustParseAddr("127.0.0.4")}
	r.start(t.Context(), "worker.example")
	if r.accept(late) {
		t.Error("a former master's look-up was accepted")
	}
	if !r.accept(lookupResult{task: r.task, host: "worker.example", addr: netip.MustParseAddr("127.0.0.5")}) {
		t.Error("the master's look-up was not accepted")
	}
}

func TestHostsThatAreRememberedAreBounded(t *testing.T) {
	r := newResolver(hostname.SystemLookup, time.Second, waiting.Backoff{})
	for i := range 3 * maxNames {
		r.accept(lookupResult{host: fmt.Sprintf("w%d.example", i), addr: netip.MustParseAddr("127.0.0.4")})
	}
	if len(r.known) > maxNames {
		t.Errorf("got %d hosts remembered; want at most %d", len(r.known), maxNames)
	}
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

func TestLookupIsTheSameInAnyOrder(t *testing.T) {
	var many []string
	for i := range 2 * maxAddresses {
		many = append(many, fmt.Sprintf("10.0.0.%d", i+1))
	}
	for _, tc := range []struct {
		addrs []string
		want  []string
	}{
		{[]string{"10.0.0.2", "10.0.0.1", "10.0.0.3"}, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}},
		{[]string{"::1", "fd00::1", "10.0.0.9"}, []string{"10.0.0.9", "::1", "fd00::1"}},
		{[]string{"::ffff:10.0.0.1", "10.0.0.2", "10.0.0.1"}, []string{"10.0.0.1", "10.0.0.2"}},
		{[]string{"0.0.0.0", "10.0.0.2", "ff02::1"}, []string{"10.0.0.2"}},
		{many, many[:maxAddresses]},
		{[]string{"0.0.0.0"}, nil},
		{nil, nil},
	} {
		dns := newFakeDNS()
		dns.set("h", tc.addrs...)
		addrs, err := lookupAll(t.Context(), dns.lookup, "h")
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if (err == nil) != (tc.want != nil) || !slices.Equal(got, tc.want) {
			t.Errorf("%v: got %v, %v; want %v", tc.addrs, got, err, tc.want)
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

func TestConnectReportsWhoAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(l.Addr().String())
	if err := systemConnect(t.Context(), to); err != nil {
		t.Errorf("somebody listens: got error %v; want none", err)
	}
	l.Close()
	if err := systemConnect(t.Context(), to); err == nil {
		t.Error("nobody listens: got no error")
	}
}
