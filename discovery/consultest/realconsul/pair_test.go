package realconsul

import (
	"testing"

	"github.com/hashicorp/consul/api"
)

// TestPairAnswersForTheOtherDataCentre, and one that was killed comes back with what it had.
func TestPairAnswersForTheOtherDataCentre(t *testing.T) {
	t.Parallel()
	p := StartPair(t)
	put := func(a *Agent, dc, value string) {
		t.Helper()
		if _, err := a.Client().KV().Put(&api.KVPair{Key: "k", Value: []byte(value)}, &api.WriteOptions{Datacenter: dc}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(a *Agent, dc, value string) {
		t.Helper()
		pair, _, err := a.Client().KV().Get("k", &api.QueryOptions{Datacenter: dc, RequireConsistent: true})
		if err != nil || pair == nil || string(pair.Value) != value {
			t.Errorf("key in %s by %s: got %+v, %v; want %q", dc, a.Node, pair, err, value)
		}
	}
	put(p.DC1, DC2, "in two")
	put(p.DC2, DC1, "in one")
	want(p.DC1, DC1, "in one")
	want(p.DC2, DC2, "in two")
	p.DC1.Kill()
	if _, _, err := p.DC2.Impatient().KV().Get("k", &api.QueryOptions{Datacenter: DC1, RequireConsistent: true}); err == nil {
		t.Error("a data centre that is down answered")
	}
	want(p.DC2, DC2, "in two")
	p.DC1.Start()
	p.AwaitJoined()
	want(p.DC2, DC1, "in one")
	want(p.DC1, DC2, "in two")
}
