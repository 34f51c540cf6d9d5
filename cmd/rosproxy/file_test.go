package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// One label asks Consul for a service of its own, the other has a static master.
func TestLabelsOfAFileHaveMastersOfTheirOwn(t *testing.T) {
	one, two := startWorker(t, "one"), startWorker(t, "two")
	consul := startConsul(t)
	service := one.service("primary")
	service.Name = "batman"
	consul.Register(service)
	path := filepath.Join(t.TempDir(), "rosproxy.yaml")
	text := `
consul-addr: ["` + consul.Addr + `"]
listeners:
  - {label: pg, listen: "127.0.0.1:0", service: batman, tag: [primary]}
  - {label: cache, listen: "127.0.0.1:0", static-master: "` + two.l.Addr().String() + `"}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "--config="+path)
	p.awaitReady()
	byLabel := map[string]api.LabelStatus{}
	for _, l := range p.status().Labels {
		byLabel[l.Label] = l
	}
	dialProxy(t, byLabel["pg"].Listen).greetedBy(one)
	dialProxy(t, byLabel["cache"].Listen).greetedBy(two)

	// The end of one label's master is nothing to the other.
	consul.Deregister(service.ID)
	p.awaitReason("no master: pg")
	dialProxy(t, byLabel["cache"].Listen).greetedBy(two)
}
