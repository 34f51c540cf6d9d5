package operator

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

const (
	reportsAt  = "rosproxy/fence"
	addressKey = "app/leader"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

// await waits until done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s", testTimeout, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// retry tries until it works: a cluster between two leaders refuses writes.
func retry(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	deadline := time.Now().Add(testTimeout)
	for {
		if err = try(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// consulDouble starts a Consul double in which there is nothing.
func consulDouble(t *testing.T) *consultest.Server {
	t.Helper()
	s, err := consultest.Listen(consultest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// twoDoubles starts two agents of one cluster.
func twoDoubles(t *testing.T) []*consultest.Server {
	t.Helper()
	s := consulDouble(t)
	other, err := s.AddAgent("agent-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	return []*consultest.Server{s, other}
}

func addresses(all []*consultest.Server) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Addr)
	}
	return out
}

// keysOf are the keys of the reports that Consul has.
func keysOf(t *testing.T, client *api.Client) []string {
	t.Helper()
	keys, _, err := client.KV().Keys(reportsAt+"/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
