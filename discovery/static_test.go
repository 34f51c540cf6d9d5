package discovery

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

var nopLog = zerolog.Nop()

func TestStaticMastersAreTold(t *testing.T) {
	dns := newFakeDNS()
	s, err := NewStatic(map[string]string{"a": "127.0.0.1:7801", "b": "worker.example:7802", "c": "[::1]:7803"},
		[]Label{{Name: "b"}, {Name: "a"}, {Name: "c"}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	s.lookup = dns.lookup
	s.pace = waiting.Backoff{First: time.Millisecond, Most: time.Millisecond}
	r := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, r) }()

	await(t, "a and c", func() bool { return len(r.list()) == 2 })
	await(t, "look-ups", func() bool { return dns.count("worker.example") > 3 })
	await(t, "a found", func() bool { return s.Labels()[1].State == Found })
	await(t, "why there is no b", func() bool {
		return s.Labels()[0].Why == `the host name "worker.example" of the master cannot be looked up`
	})
	if l := s.Labels(); l[0].Label != "b" || l[0].State != Starting || l[1].Label != "a" || l[1].MastersSeen != 1 {
		t.Errorf("got labels %v; want b starting and a found", l)
	}
	dns.set("worker.example", "127.0.0.3", "127.0.0.2")
	await(t, "b", func() bool { return slices.Contains(r.list(), "b set 127.0.0.2:7802") })
	await(t, "b found", func() bool { return s.Labels()[0].State == Found && s.Labels()[0].Why == "" })
	if !slices.Contains(r.list(), "a set 127.0.0.1:7801") || !slices.Contains(r.list(), "c set [::1]:7803") {
		t.Errorf("got calls %q; want a and c too", r.list())
	}
	if a := s.Agents(); len(a) != 0 {
		t.Errorf("got agents %v; want none", a)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: got %v; want nil", err)
	}
}

// TestStaticNameIsLookedUpAgainWhileDialsFail: it may have moved, and another
// of its addresses may accept.
func TestStaticNameIsLookedUpAgainWhileDialsFail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := port(l.Addr().String())
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.2", "127.0.0.3") // nobody listens on the first
	s, err := NewStatic(map[string]string{"a": "worker.example:" + p, "b": "127.0.0.1:1"}, []Label{{Name: "a"}, {Name: "b"}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	s.lookup = dns.lookup
	r := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, r) }()
	of := func(label string) (calls []string) {
		for _, c := range r.list() {
			if strings.HasPrefix(c, label+" ") {
				calls = append(calls, c)
			}
		}
		return calls
	}
	two, three, four := "a set 127.0.0.2:"+p, "a set 127.0.0.3:"+p, "a set 127.0.0.4:"+p
	await(t, "the first address", func() bool { return slices.Equal(of("a"), []string{two}) })
	dialsFail(t, s, "a")
	dialsFail(t, s, "b")
	await(t, "the one that accepts", func() bool { return slices.Equal(of("a"), []string{two, three}) })
	dns.set("worker.example", "127.0.0.4")
	await(t, "where the name has moved", func() bool { return slices.Equal(of("a"), []string{two, three, four}) })
	if got := of("b"); len(got) != 1 {
		t.Errorf("got calls %q for a master with an address; want one", got)
	}
	cancel()
	<-done
}

func TestStaticRunEndsWhileANameDoesNotResolve(t *testing.T) {
	s, err := NewStatic(map[string]string{"a": "worker.example:1"}, []Label{{Name: "a"}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	dns := newFakeDNS()
	dns.hang = true
	s.lookup, s.timeout = dns.lookup, time.Hour
	r := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, r) }()
	await(t, "a look-up", func() bool { return dns.count("worker.example") == 1 })
	cancel()
	<-done
	if calls := r.list(); len(calls) != 0 {
		t.Errorf("got calls %q; want none", calls)
	}
}

func TestStaticMastersThatCannotBe(t *testing.T) {
	a := []Label{{Name: "a"}}
	for _, tc := range []struct {
		masters map[string]string
		err     string
	}{
		{nil, `label "a" has no static master`},
		{map[string]string{"a": "127.0.0.1:1", "b": "127.0.0.1:1"}, `"b": there is no such label`},
		{map[string]string{"a": "127.0.0.1"}, "missing port"},
		{map[string]string{"a": "127.0.0.1:0"}, `port "0"`},
		{map[string]string{"a": "127.0.0.1:65536"}, `port "65536"`},
		{map[string]string{"a": "127.0.0.1:http"}, `port "http"`},
		{map[string]string{"a": ":7800"}, "neither an IP address nor a host name"},
		{map[string]string{"a": "0.0.0.0:7800"}, "unusable"},
		{map[string]string{"a": "::1:7800"}, "too many colons"},
		{map[string]string{"a": "1.2.3:7800"}, "neither"},
	} {
		_, err := NewStatic(tc.masters, a, nopLog)
		if err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%v: got error %v; want one with %q", tc.masters, err, tc.err)
		}
	}
}
