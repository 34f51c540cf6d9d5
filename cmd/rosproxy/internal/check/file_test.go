package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func TestCheckShowsWhatWouldRunListenerByListener(t *testing.T) {
	consul := startConsul(t)
	at, port := startMaster(t)
	consul.Register(
		consultest.Service{ID: "sync-1", Name: "sync", Address: "127.0.0.1", Port: port, Tags: []string{"role=master", "label=europe"}},
		consultest.Service{ID: "pg1", Name: "batman", Address: "127.0.0.1", Port: port, Tags: []string{"primary"}},
	)
	path := filepath.Join(t.TempDir(), "rosproxy.yaml")
	text := `
admin-listen: 127.0.0.1:0
consul-addr: ["` + consul.Addr + `"]
idle-timeout: 1h
listeners:
  - {label: europe, listen: "127.0.0.1:0"}
  - {label: pg, listen: "127.0.0.1:0", service: batman, tag: [primary], hold-timeout: 30s, release-rate: 500, on-outage: fence, fence-after: 5s, on-conflict: refuse}
  - label: cache
    listen: 127.0.0.1:0
    static-master: ` + at + `
    drop: fin
    idle-timeout: 0
    accept-proxy: on
    accept-proxy-from: [10.0.0.0/8, 192.0.2.1]
    send-proxy: v2
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ok, out := run(t, []string{"--config", path}, nil)
	if !ok {
		t.Errorf("got a failure; want none\n%s", out)
	}
	wantLine(t, out, "ok   configuration: listener europe on 127.0.0.1:0: service sync with tags role=master, label=europe, on-lost keep; hold 10s, connect 2s, idle 1h0m0s, drop rst\n")
	wantLine(t, out, "ok   configuration: listener pg on 127.0.0.1:0: service batman with tags primary, fenced after 5s, conflicts refused, on-lost keep; hold 30s, connect 2s, idle 1h0m0s, drop rst, 500 held clients released a second\n")
	wantLine(t, out, "ok   configuration: listener cache on 127.0.0.1:0: static master "+at+
		"; hold 10s, connect 2s, idle never, drop fin, PROXY headers accepted from 10.0.0.0/8, 192.0.2.1/32, PROXY header v2 sent\n")
	for _, label := range []string{"europe", "pg", "cache"} {
		wantLine(t, out, "ok   master of "+label+" at "+at+": accepts connections")
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "master of cache at consul") {
			t.Errorf("got %q; want Consul not asked for a label with a static master", line)
		}
	}
}

func TestCheckShowsLeaderKeysListenerByListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rosproxy.yaml")
	text := `
admin-listen: 127.0.0.1:0
consul-addr: ["` + startConsul(t).Addr + `"]
listeners:
  - {label: key, listen: "127.0.0.1:0", leader-key: mysql/master/a, leader-lock: ignored, lost-after: 2s}
  - {label: patroni, listen: "127.0.0.1:0", consul-datacenter: dc2, leader-key: service/batman/leader, leader-format: patroni, on-lost: keep, on-outage: fence}
  - {label: catalog, listen: "127.0.0.1:0", leader-key: a/leader, leader-ready: catalog, service: db, tag: [primary], on-lost: cut}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, out := run(t, []string{"--config", path}, nil)
	for label, source := range map[string]string{
		"key":     "leader key mysql/master/a, format address, lock ignored, ready now, on-lost cut after 2s",
		"patroni": "leader key service/batman/leader, format patroni, lock required, ready api in dc2, fenced after 30s, on-lost keep",
		"catalog": "leader key a/leader, format address, lock required, ready catalog, by service db with tags primary, on-lost cut",
	} {
		wantLine(t, out, "ok   configuration: listener "+label+" on 127.0.0.1:0: "+source+"; hold 10s, connect 2s, ")
	}
}
