package discovery

import (
	"net/http"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// TestColdStartSaysWhyNobodyIsKnown: of each address, and anew when that changes.
func TestColdStartSaysWhyNobodyIsKnown(t *testing.T) {
	t.Parallel()
	away, bad := double(t), double(t)
	away.Stop()
	undo := bad.Inject(consultest.Status(http.StatusInternalServerError, "No cluster leader"))
	hung := bad.Inject(consultest.Hang())
	refused := "dial tcp " + away.Addr + ": connect: connection refused"

	r := start(t, quick(away.Addr))
	await(t, "one address to be named", func() bool { return r.why() == "Consul does not answer: "+refused })
	patient := quick(bad.Addr)
	patient.Wait, patient.VerifyTimeout = time.Minute, time.Minute
	r = start(t, patient)
	await(t, "no answer to be said", func() bool { return r.why() == "Consul has not answered yet" })
	r = start(t, quick(bad.Addr))
	await(t, "the time-out to be named", func() bool { return r.why() == "Consul does not answer: no complete answer in time" })
	hung()
	const failed = `status 500: "No cluster leader"`
	await(t, "the error to be named", func() bool { return r.why() == "Consul does not answer: "+failed })
	two := start(t, quick(away.Addr, bad.Addr))
	await(t, "both addresses to be named", func() bool {
		return two.why() == "Consul does not answer: "+away.Addr+": "+refused+"; "+bad.Addr+": "+failed
	})
	undo()
	r.calls(set1)
	two.calls(set1)
	if r.why() != "" || two.why() != "" {
		t.Errorf("with a master: got %q and %q; want nothing", r.why(), two.why())
	}
}
