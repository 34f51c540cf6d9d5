package fleet_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The ports of every instance, which the balancers' recipes name.
const (
	proxyPort = "7800"
	adminPort = "7802"
	agentPort = "7803"
)

// instance is one rosproxy of the tier: a host, and what runs there, one
// process after the other.
type instance struct {
	t       *testing.T
	name    string
	host    *host
	program string // a file of its own, so that it can be replaced
	token   string
	args    []string
	runtime string     // where a generation that drains has its socket
	lives   []*process // the last may be running
}

// newInstance makes one that is not running yet.
func newInstance(t *testing.T, name string, h *host, args ...string) *instance {
	t.Helper()
	dir := t.TempDir()
	i := &instance{t: t, name: name, host: h, program: filepath.Join(dir, "rosproxy"), token: "open-" + name}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(i.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i.install(binary)
	var err error
	if i.runtime, err = os.MkdirTemp("", "rp"); err != nil { // short: a socket's path has a limit
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(i.runtime) })
	i.args = append([]string{
		"--listen=default=:" + proxyPort, "--admin-listen=" + h.ip + ":" + adminPort, "--admin-token-file=" + tokenFile,
		"--log-format=json", "--log-level=info", "--log-connections",
	}, args...)
	return i
}

// install puts a program in the place of the instance's, as a package manager
// does: by a rename, under the feet of the one that runs.
func (i *instance) install(program string) {
	i.t.Helper()
	next := i.program + ".new"
	_ = os.Remove(next) // of an install that failed
	err := os.Link(program, next)
	if err == nil {
		err = os.Rename(next, i.program)
	}
	if err != nil {
		i.t.Fatalf("install %s: %v", i.program, err)
	}
}

// start starts the instance and waits until it is ready.
func (i *instance) start() {
	i.t.Helper()
	command := append([]string{"/usr/bin/env", "RUNTIME_DIRECTORY=" + i.runtime, i.program}, i.args...)
	i.lives = append(i.lives, i.host.start(i.t, i.name, command...))
	i.awaitReady()
}

func (i *instance) process() *process { return i.lives[len(i.lives)-1] }

// awaitReady waits until /readyz says 200.
func (i *instance) awaitReady() {
	i.t.Helper()
	eventually(i.t, i.name+" to be ready", func() bool {
		select {
		case <-i.process().Empty():
			i.t.Fatalf("%s has ended:\n%s", i.name, tail(i.process().output(), 6<<10))
		default:
		}
		code, _, err := i.admin(http.MethodGet, "/readyz", nil)
		return err == nil && code == http.StatusOK
	})
}

// admin asks an admin endpoint, over the network, and decodes its JSON into v.
func (i *instance) admin(method, path string, v any) (code int, body string, err error) {
	return i.adminFrom(i.host.network.hosts["balancer"], method, path, v)
}

// adminFrom asks from a host.
func (i *instance) adminFrom(from *host, method, path string, v any) (code int, body string, err error) {
	r, err := http.NewRequest(method, "http://"+i.host.ip+":"+adminPort+path, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+i.token)
	a, err := from.web().Do(r)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && v != nil {
		err = json.Unmarshal(text, v)
	}
	return a.StatusCode, string(text), err
}

// mustAdmin asks an admin endpoint, which must answer with code.
func (i *instance) mustAdmin(method, path string, code int, v any) {
	i.t.Helper()
	if got, body, err := i.admin(method, path, v); err != nil || got != code {
		i.t.Fatalf("%s of %s %s: got %d, %v, %s; want %d", i.name, method, path, got, err, body, code)
	}
}

// status is what this package wants of /status.
type status struct {
	State      string `json:"state"`
	PID        int    `json:"pid"`
	Generation int    `json:"generation"`
	Labels     []struct {
		Active    int    `json:"active"`
		Held      int    `json:"held"`
		Accepted  uint64 `json:"accepted_total"`
		Failovers uint64 `json:"failovers_total"`
		Master    *struct {
			Address string `json:"address"`
		} `json:"master"`
		LostSince *time.Time `json:"lost_since"`
	} `json:"labels"`
}

func (i *instance) status() status {
	i.t.Helper()
	var s status
	i.mustAdmin(http.MethodGet, "/status", http.StatusOK, &s)
	return s
}

// sources are the real addresses of the clients that the instance has now.
func (i *instance) sources() map[string]bool {
	i.t.Helper()
	var connections []struct{ Client, Source string }
	i.mustAdmin(http.MethodGet, "/connections", http.StatusOK, &connections)
	sources := map[string]bool{}
	for _, c := range connections {
		sources[realClient(c.Client, c.Source)] = true
	}
	return sources
}

// realClient is who is at the other end: as the PROXY header has it, else the peer.
func realClient(peer, source string) string {
	if source != "" {
		return source
	}
	return peer
}

// awaitEnd waits until every process of the instance's last life has ended well.
func (i *instance) awaitEnd() {
	i.t.Helper()
	p := i.process()
	select {
	case <-p.Empty():
	case <-time.After(testTimeout):
		i.t.Fatalf("%s: still running after %v", i.name, testTimeout)
	}
	for pid, s := range p.Ended() {
		if !s.Exited() || s.ExitStatus() != 0 {
			i.t.Errorf("%s: process %d ended with %v; want exit status 0", i.name, pid, describe(s))
		}
	}
}

// line is one line of a log.
type line struct {
	text     string
	Time     time.Time
	Level    string
	Message  string
	Reason   string
	Client   string
	Source   string
	Duration float64 `json:"duration_ms"`
}

// shared is how much of a time the connection of a line was there.
func (l line) shared(from, to time.Time) time.Duration {
	if began := l.Time.Add(-time.Duration(l.Duration * float64(time.Millisecond))); began.After(from) {
		from = began
	}
	if l.Time.Before(to) {
		to = l.Time
	}
	return to.Sub(from)
}

// log is all that the instance has logged, over all its lives and generations.
// A line that is no JSON (a panic, a data race) fails the test.
func (i *instance) log() []line {
	i.t.Helper()
	var lines []line
	for _, p := range i.lives {
		for text := range strings.Lines(p.output()) {
			if !strings.HasSuffix(text, "\n") {
				continue // being written
			}
			l := line{text: strings.TrimSpace(text)}
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				i.t.Fatalf("%s: log line %q: %v\n%s", i.name, text, err, tail(p.output(), 8<<10))
			}
			lines = append(lines, l)
		}
	}
	return lines
}

// logged are the lines with a message.
func (i *instance) logged(message string) []line {
	i.t.Helper()
	var some []line
	for _, l := range i.log() {
		if l.Message == message {
			some = append(some, l)
		}
	}
	return some
}
