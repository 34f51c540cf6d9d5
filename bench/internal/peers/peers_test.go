package peers

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestHAProxyFollowsConsulOnlyWhereItIsAsked(t *testing.T) {
	o := Options{To: "127.0.1.1:7800", AlsoTo: "127.0.1.2:7800"}
	routes, err := o.routes()
	if err != nil {
		t.Fatal(err)
	}
	fixed := haproxyConfig(o, routes, "/x/sock")
	for _, want := range []string{
		"option splice-auto", "stats socket /x/sock", "backend be\n    server s1 127.0.1.1:7800\n", "backend be_also\n    server s1 127.0.1.2:7800\n",
		"bind " + routes[0].at.String(), "bind " + routes[1].at.String(),
	} {
		if !strings.Contains(fixed, want) {
			t.Errorf("without Consul the configuration lacks %q:\n%s", want, fixed)
		}
	}
	if strings.Contains(fixed, "resolvers") {
		t.Errorf("without Consul the configuration asks DNS:\n%s", fixed)
	}
	followed := haproxyConfig(Options{To: "127.0.1.1:7800", ConsulDNS: "127.0.0.1:8600"}, routes[:1], "/x/sock")
	for _, want := range []string{"backend be\n    server-template", "on-marked-down shutdown-sessions", "timeout resolve 1s", "nameserver agent 127.0.0.1:8600"} {
		if !strings.Contains(followed, want) {
			t.Errorf("with Consul the configuration lacks %q:\n%s", want, followed)
		}
	}
}

func TestRivalsSendAHeaderOnlyWhereItIsAsked(t *testing.T) {
	for _, header := range []bool{false, true} {
		o := Options{To: "127.0.1.1:7800", Header: header}
		routes, err := o.routes()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(haproxyConfig(o, routes, "/x/sock"), "server s1 127.0.1.1:7800 send-proxy\n"); got != header {
			t.Errorf("HAProxy sends a header: got %v; want %v", got, header)
		}
		if got := strings.Contains(nginxServers(o, routes), "proxy_protocol on;"); got != header {
			t.Errorf("nginx sends a header: got %v; want %v", got, header)
		}
	}
}

func TestRoutesDoNotTakeWhatIsTaken(t *testing.T) {
	first, err := freeAddress(firstPort)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(first))
	if err != nil {
		t.Skip("somebody else took the port meanwhile:", err)
	}
	defer l.Close()
	routes, err := Options{AlsoTo: "127.0.1.1:1"}.routes()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]bool{first: true}
	for _, r := range routes {
		if seen[r.at] {
			t.Errorf("route %s: got %s, which is taken", r.name, r.at)
		}
		seen[r.at] = true
	}
}

// Two processes at one address would share their clients by SO_REUSEPORT.
func TestProcessesThatMeasureAtOnceHaveAddressesOfTheirOwn(t *testing.T) {
	own, err := Place()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Place(); again != own || err != nil {
		t.Errorf("place, asked for again: got %d, %v; want %d still", again, err, own)
	}
	c := exec.Command(os.Args[0], "-test.run", "^TestPlaceOfAnotherProcess$", "-test.v")
	c.Env = append(os.Environ(), "PLACE_OF_ANOTHER=1")
	said, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("another process: %v: %s", err, said)
	}
	at, err := address()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(said), "address 127.0.0.") || strings.Contains(string(said), "address "+at.String()+"\n") {
		t.Errorf("another process says %q; want an address that is not %s", said, at)
	}
}

func TestPlaceOfAnotherProcess(t *testing.T) {
	if os.Getenv("PLACE_OF_ANOTHER") == "" {
		t.Skip("it is the other process of the test above")
	}
	at, err := address()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("address", at)
}

func TestUnknownPeerIsNamed(t *testing.T) {
	if _, err := Start(t.Context(), "envoy", Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "envoy") {
		t.Errorf("start envoy: got %v; want an error that names it", err)
	}
}

func TestEachLabelHasAListenerOfItsOwn(t *testing.T) {
	routes, err := Options{Labels: []string{"europe", "asia"}}.routes()
	if err != nil {
		t.Fatal(err)
	}
	want := "listeners:\n" +
		"  - {label: europe, listen: \"" + routes[0].at.String() + "\"}\n" +
		"  - {label: asia, listen: \"" + routes[1].at.String() + "\"}\n"
	if got := labelsFile(routes); got != want || routes[0].at == routes[1].at {
		t.Errorf("configuration of two labels: got\n%s; want\n%s, at different addresses", got, want)
	}
}

func TestMetricIsTheOneOfThatWholeName(t *testing.T) {
	text := []byte("# HELP heap the heap\n# TYPE heap gauge\nheap_more 1\nheap 2.5e+06\n")
	if got, err := metricIn(text, "heap"); got != 2.5e6 || err != nil {
		t.Errorf("metric: got %v, %v; want 2.5e6", got, err)
	}
	if got, err := metricIn(text, "hea"); err == nil {
		t.Errorf("metric that is not there: got %v; want an error", got)
	}
}
