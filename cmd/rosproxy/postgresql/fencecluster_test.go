package postgresql_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

const (
	fenceTTL     = 10 * time.Second
	fenceWriters = 4                       // through each instance
	aftermath    = 1500 * time.Millisecond // of writing after a promotion, for what is late to show
)

// fenced is a cluster whose promotions wait for the reports of two instances.
// Patroni's, and each instance's, agent of Consul is one of its own.
type fenced struct {
	*patroni.Cluster
	servers    *realconsul.Cluster
	agentA     *realconsul.Agent
	a, b       *instance
	promotions string // the file where each await-fence is told
}

func startFenced(t *testing.T) *fenced {
	t.Helper()
	f := &fenced{servers: realconsul.StartCluster(t, 3)}
	f.agentA = f.servers.StartClient("agent-a")
	agentB := f.servers.StartClient("agent-b")
	p, err := patroni.Start(t.Context(), "", f.servers.Client.Addr, 2, patroni.PrePromote(f.prePromote(t)))
	if err != nil {
		t.Fatal(err)
	}
	f.Cluster = p
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.Said())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	instance := func(name, consul string) *instance {
		return startInstance(t, name, func(listen string) []string {
			return []string{"--config=" + cook(t, consul, listen), "--fence-report=rosproxy/fence", fmt.Sprint("--fence-ttl=", fenceTTL), "--instance=" + name}
		})
	}
	f.a, f.b = instance("a", f.agentA.Addr), instance("b", agentB.Addr)
	return f
}

// prePromote writes the command that Patroni is given: the reference's, and around it
// what tells in a file when that began, when it was over, and with which status.
func (f *fenced) prePromote(t *testing.T) (command string) {
	t.Helper()
	recipe := recommended(t)
	dir, err := os.MkdirTemp("", "pre_promote")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f.promotions = filepath.Join(dir, "promotions")
	// A program with the race detector sleeps for a second at its end, if it may.
	script := fmt.Sprintf(`#!/bin/sh
export GORACE=atexit_sleep_ms=0
begin=$(date +%%s%%N)
CONSUL_HTTP_ADDR=%s %s >>%s.log 2>&1
status=$?
echo $begin $(date +%%s%%N) $status >>%s
exit $status
`, f.servers.Client.Addr, recipe, f.promotions, f.promotions)
	command = filepath.Join(dir, "pre_promote")
	if err := os.WriteFile(command, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // Patroni is somebody else
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said, _ := os.ReadFile(f.promotions + ".log"); t.Failed() {
			t.Logf("await-fence said:\n%s", said)
		}
	})
	return command
}

// recommended is the pre_promote of the reference, of the binary under test.
func recommended(t *testing.T) string {
	t.Helper()
	const file, program = "../README.md", "/usr/local/bin/rosproxy "
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, command, found := strings.Cut(string(readme), "\n  pre_promote: "+program)
	command, _, _ = strings.Cut(command, "\n")
	if !found {
		t.Fatalf("%s: want a pre_promote with %s in it", file, program)
	}
	return binary + " " + command
}
