package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/box"
	"github.com/rosproxy/rosproxy/bench/faults/internal/run"
	"github.com/rosproxy/rosproxy/bench/faults/internal/toy"
)

var (
	seed     = flag.Uint64("seed", uint64(time.Now().UnixNano())%1e6, "of the plan")
	duration = flag.Duration("duration", time.Minute, "how long")
)

// TestMain runs the tests in a box, and is the master where it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == toy.Arg {
		os.Exit(start())
	}
	if !box.Inside() {
		code, err := box.Enter()
		if err != nil {
			fmt.Println(err)
			code = 1
		}
		os.Exit(code)
	}
	if err := box.Settle(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestFailoversUnderFaults: each failover under a fault, and nothing that was promised broken.
func TestFailoversUnderFaults(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatalf("find iproute2: %v; run make balancers", err)
	}
	o := run.Options{Seed: *seed, Duration: *duration, Consul: program(t, "consul"), Rosproxy: filepath.Join(box.Folder(), "rosproxy")}
	build := exec.Command("go", "build", "-race", "-o", o.Rosproxy, "./cmd/rosproxy")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build rosproxy: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	table, err := run.Run(ctx, o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %d rounds in %v\n%s", table.Seed, table.Rounds(), table.Took, table.Markdown())
	for _, v := range table.Violations() {
		t.Error(v)
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("find %s: %v; run make %[1]s", name, err)
	}
	return path
}
