package check

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

func TestCheckReadsTheEntryOfEachDataCentre(t *testing.T) {
	p := realconsul.StartPair(t)
	_, port := startMaster(t)
	_, err := p.DC2.Client().Catalog().Register(&api.CatalogRegistration{Node: "workers", Address: "127.0.0.1",
		Service: &api.AgentService{ID: "sync-1", Service: "sync", Port: port, Tags: tags}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(dc string, value []byte) {
		t.Helper()
		if _, err := p.DC1.Client().KV().Put(&api.KVPair{Key: "rosproxy/datacenter", Value: value}, &api.WriteOptions{Datacenter: dc}); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--consul-addr=" + p.DC1.Addr, "--consul-datacenter=dc1", "--consul-datacenter=dc2", "--instance=p1"}
	at := " at consul " + p.DC1.Addr + ": "

	ok, out := checked(t, args...)
	if ok {
		t.Error("nobody is active: got all well")
	}
	wantLine(t, out, "warn data centre dc1"+at+"no entry")
	wantLine(t, out, "FAIL master of default"+at+"none: no active data centre")

	write("dc1", datacenter.Entry{Active: "dc1", Term: 3}.Encode())
	write("dc2", datacenter.Entry{Active: "dc2", Term: 6}.Encode())
	ok, out = checked(t, args...)
	if !ok {
		t.Errorf("got a fault; want none\n%s", out)
	}
	wantLine(t, out, "ok   data centre dc1"+at+"dc1 is active, term 3")
	wantLine(t, out, "ok   data centre dc2"+at+"dc2 is active, term 6")
	wantLine(t, out, "ok   own data centre"+at+"dc1")
	wantLine(t, out, "ok   master of default"+at+net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	wantLine(t, out, "ok   fence reports below rosproxy/fence at consul "+p.DC1.Addr+", data centre dc2: can be written")

	if strings.Contains(out, "warn own data centre") {
		t.Errorf("got a warning; want none of one agent\n%s", out)
	}
	ok, out = checked(t, append(args, "--consul-addr="+p.DC2.Addr)...)
	if !ok {
		t.Errorf("agents in both: got a fault; want none\n%s", out)
	}
	wantLine(t, out, "warn own data centre: consul "+p.DC1.Addr+" is in dc1, and "+p.DC2.Addr+" in dc2")

	write("dc2", []byte("garbage"))
	if ok, out = checked(t, args...); ok {
		t.Error("an entry is garbage: got all well")
	}
	wantLine(t, out, "FAIL data centre dc2"+at+"its entry cannot be read: the entry of the active data centre cannot be understood: not the JSON")
}
