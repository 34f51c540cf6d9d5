package prometheus

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// instance is one rosproxy that Prometheus scrapes.
type instance struct {
	*reaper.Process
	t       *testing.T
	name    string
	program string // a file of its own, so that it can be replaced
	log     string
	admin   string            // address of its endpoints
	listen  map[string]string // label -> address
}

// startInstance starts one that serves those labels, and waits until it answers.
func startInstance(t *testing.T, name string, labels []string, args ...string) *instance {
	t.Helper()
	dir := t.TempDir()
	i := &instance{t: t, name: name, program: filepath.Join(dir, "rosproxy"), log: filepath.Join(dir, "log"), listen: map[string]string{}}
	if err := os.Link(binary, i.program); err != nil {
		t.Fatal(err)
	}
	command := []string{i.program, "--admin-listen=127.0.0.1:0", "--log-format=json", "--drain-grace=0s"}
	for _, l := range labels {
		command = append(command, "--listen="+l+"=127.0.0.1:0")
	}
	i.Process = start(t, i.log, append(command, args...)...)
	eventually(t, name+" to answer", func() bool {
		i.admin = i.adminAddress()
		return i.admin != "" && i.status() != nil
	})
	for _, l := range i.status().Labels {
		i.listen[l.Label] = l.Listen
	}
	return i
}

// start starts a program, which ends with the test.
func start(t *testing.T, log string, args ...string) *reaper.Process {
	t.Helper()
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := reaper.Start(reaper.Command{Args: args, Env: cleanEnv(), Log: f})
	if err != nil {
		t.Fatalf("%v\n%s", err, read(t, log))
	}
	t.Cleanup(func() {
		p.Close()
		text := read(t, log)
		if strings.Contains(text, "DATA RACE") {
			t.Errorf("%s: a data race:\n%s", args[0], text)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], tail(text))
		}
	})
	return p
}

// tail is the end of a log.
func tail(text string) string { return text[max(0, len(text)-2<<10):] }

// cleanEnv is our environment without what would configure rosproxy.
func cleanEnv() []string {
	return append(testmain.Environment(), "GORACE=exitcode=66 atexit_sleep_ms=0") // a second each, else
}

// adminAddress is where the log says that the endpoints are; empty: not yet.
func (i *instance) adminAddress() string {
	for line := range strings.Lines(read(i.t, i.log)) {
		var l struct{ Component, Address, Message string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Component == "admin" && l.Message == "listener opened" {
			return l.Address
		}
	}
	return ""
}

// get is what an endpoint answers.
func (i *instance) get(path string) (string, error) {
	r, err := http.Get("http://" + i.admin + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// status is what /status says; nil: nothing yet.
func (i *instance) status() *api.Status {
	text, err := i.get("/status")
	s := &api.Status{}
	if err != nil || json.Unmarshal([]byte(text), s) != nil || s.State != "serving" {
		return nil
	}
	return s
}

// awaitMaster waits until a label has the master at address; empty: none.
func (i *instance) awaitMaster(label, address string) {
	i.t.Helper()
	eventually(i.t, i.name+" to have master "+address+" for "+label, func() bool {
		for _, l := range i.status().Labels {
			if l.Label == label {
				return l.Master == nil && address == "" || l.Master != nil && l.Master.Address == address
			}
		}
		return false
	})
}

// failUpgrade has an upgrade to a program that ends at once.
func (i *instance) failUpgrade() {
	i.t.Helper()
	next := i.program + ".new"
	err := os.WriteFile(next, []byte("#!/bin/sh\nexit 1\n"), 0o755)
	if err == nil {
		err = os.Rename(next, i.program)
	}
	if err == nil {
		err = syscall.Kill(i.PID, syscall.SIGUSR2)
	}
	if err != nil {
		i.t.Fatal(err)
	}
}
