package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest/orchestratortest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// cooked is a recipe of testdata with other addresses, and nothing else changed.
func cooked(t *testing.T, name string, addresses ...string) (file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(addresses); i += 2 {
		if strings.Count(string(text), addresses[i]) != 1 {
			t.Fatalf("%s: want %s in it, once", name, addresses[i])
		}
	}
	file = filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(file, []byte(strings.NewReplacer(addresses...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMasterOfOrchestratorIsFollowedByItsKey: orchestrator writes who is master
// when it has made it one, and holds no lock.
func TestMasterOfOrchestratorIsFollowedByItsKey(t *testing.T) {
	consul := realconsul.StartDev(t)
	kv := consul.Client().KV()
	submit := func(w *worker) {
		t.Helper()
		if err := orchestratortest.Submit(kv, "main", orchestratortest.At(w.l.Addr().String())); err != nil {
			t.Fatal(err)
		}
	}
	one, two := startWorker(t, "one"), startWorker(t, "two")
	p := startProgram(t, "--config="+cooked(t, "config/orchestrator.yaml", `"127.0.0.1:8500"`, consul.Addr, `":3306"`, "127.0.0.1:0"))
	p.awaitReason("no master: mysql")
	held := p.dial()
	submit(one)
	held.greetedBy(one)
	p.awaitReady()

	live := p.connected(one)
	submit(one) // as it does again and again: no failover
	submit(two)
	held.isReset()
	live.isReset()
	p.connected(two).isAlive()
	if l := p.label(); l.Failovers != 1 {
		t.Errorf("failovers: got %d; want 1", l.Failovers)
	}
}
