package postgresql_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
)

// instance is a rosproxy process.
type instance struct {
	t       *testing.T
	name    string
	listen  string
	admin   string
	log     string // a file
	args    []string
	process *reaper.Process // of its last life; nil: it was never started
}

// startInstance starts rosproxy with the flags that flags gives for the address
// it is to listen at, and waits until it is ready.
func startInstance(t *testing.T, name string, flags func(listen string) []string) *instance {
	t.Helper()
	i := &instance{t: t, name: name, log: filepath.Join(t.TempDir(), name+".log")}
	for _, address := range []*string{&i.listen, &i.admin} {
		var err error
		if *address, err = freeport.Address(); err != nil {
			t.Fatal(err)
		}
		release, err := freeport.Hold(*address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
	i.args = append([]string{binary, "--admin-listen=" + i.admin, "--log-format=json"}, flags(i.listen)...)
	t.Cleanup(i.stop)
	i.start()
	i.awaitReady()
	return i
}

// start starts the process; whatever is left of an earlier life ends.
func (i *instance) start() {
	i.t.Helper()
	if i.process != nil {
		i.process.Close()
	}
	log, err := os.OpenFile(i.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		i.t.Fatal(err)
	}
	defer log.Close()
	i.process, err = reaper.Start(reaper.Command{Args: i.args, Env: testmain.Environment(), Log: log})
	if err != nil {
		i.t.Fatalf("%v\n%s", err, i.said())
	}
}

func (i *instance) awaitReady() {
	i.t.Helper()
	eventually(i.t, i.name+" to be ready", func() bool {
		select {
		case <-i.process.Empty():
			i.t.Fatalf("%s has ended:\n%s", i.name, i.said())
		default:
		}
		code, _ := i.get("/readyz")
		return code == http.StatusOK
	})
}

func (i *instance) stop() {
	if i.process != nil {
		i.process.Close()
	}
	if i.t.Failed() {
		i.t.Logf("log of %s:\n%s", i.name, i.said())
	}
	i.logged("")
}

func (i *instance) said() string {
	b, err := os.ReadFile(i.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// get asks an admin endpoint; code 0: it did not answer.
func (i *instance) get(path string) (code int, body string) {
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	a, err := web.Get("http://" + i.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err.Error()
	}
	return a.StatusCode, string(text)
}

// label is what these tests want of a label's /status.
type label struct {
	Active int `json:"active"`
	Held   int `json:"held"`
	Master *struct {
		Address string `json:"address"`
	} `json:"master"`
}

// label is the instance's only label.
func (i *instance) label() label {
	i.t.Helper()
	code, body := i.get("/status")
	var s struct {
		Labels []label `json:"labels"`
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK || len(s.Labels) != 1 {
		i.t.Fatalf("status of %s: got %d, %s, %v; want one label", i.name, code, body, err)
	}
	return s.Labels[0]
}

// line is one of the log.
type line struct {
	Message     string
	Time        time.Time
	To          string
	Master      string
	Connections string // what became of them
}

// logged are the lines with a message, since the start; empty: all. A line that is no JSON
// (a panic, a data race) fails the test.
func (i *instance) logged(message string) []line {
	i.t.Helper()
	var some []line
	for text := range strings.Lines(i.said()) {
		if !strings.HasSuffix(text, "\n") {
			continue // being written
		}
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			i.t.Errorf("%s: log line %q: %v", i.name, text, err)
		}
		if message == "" || l.Message == message {
			some = append(some, l)
		}
	}
	return some
}

// signal sends a signal to the process that serves.
func (i *instance) signal(s syscall.Signal) {
	i.t.Helper()
	code, body := i.get("/status")
	var status struct {
		PID int `json:"pid"`
	}
	err := json.Unmarshal([]byte(body), &status)
	if err == nil && code == http.StatusOK {
		err = syscall.Kill(status.PID, s)
	}
	if err != nil || code != http.StatusOK {
		i.t.Fatalf("signal %v to %s: %v, its status %d, %s", s, i.name, err, code, body)
	}
}
