package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// admin is how a client command names p.
func (p *running) admin() string { return "--admin=unix:" + p.socket }

// ask runs a client command that has to end with that code.
func ask(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := runOnce(t, args, nil)
	if got != code {
		t.Fatalf("%q: got exit code %d; want %d\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout, stderr
}

// decoded is a document for programs, which must be all that there is.
func decoded[T any](t *testing.T, document string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatalf("%v; got %s", err, document)
	}
	return v
}

// nobody is an address where nobody listens, and that no other test is given.
func nobody(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	release, err := freeport.Hold(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}

func TestStatusShowsALineForEachLabel(t *testing.T) {
	one := startWorker(t, "one")
	master := one.l.Addr().String()
	p := startProgram(t, "--listen=default=127.0.0.1:0", "--listen=europe=127.0.0.1:0", "--static-master=default="+master, "--consul-addr=127.0.0.1:1")
	p.connected(one)
	eventually(t, "Consul to have been asked", func() bool { return strings.Contains(p.status().Consul[0].Error, "refused") })
	stdout, stderr := ask(t, exitOK, "status", p.admin())
	for _, want := range []string{
		`(?m)^unix:\S+ serving, generation 1, pid \d+, up \d+s, version `,
		`(?m)^  consul 127\.0\.0\.1:1 failing, never answered: .*refused`,
		`(?m)^LABEL +SOURCE +MASTER +SINCE +EPOCH +ACTIVE +HELD$`,
		`(?m)^default +static +` + regexp.QuoteMeta(master) + ` +\d+s +1 +1 +0$`,
		`(?m)^europe +service +none +- +- +0 +0`,
	} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("got no %s in\n%s", want, stdout)
		}
	}
	if stderr != "" {
		t.Errorf("got %q beside it; want nothing", stderr)
	}
	if strings.Contains(stdout, "\x1b") {
		t.Errorf("got colours where there is no terminal: %q", stdout)
	}
}

type statusDocument struct {
	Instances []struct {
		Admin, Error string
		Status       *api.Status
		Drain        *api.DrainState
	}
	Disagreements []struct {
		Label   string
		Masters []struct {
			Admin  string
			Master *string
		}
	}
}

func TestStatusMarksLabelsOfWhichInstancesDisagreeOnTheMaster(t *testing.T) {
	one, two := startWorker(t, "one"), startWorker(t, "two")
	both := []string{"--listen=default=127.0.0.1:0", "--listen=europe=127.0.0.1:0", "--static-master=europe=" + one.l.Addr().String()}
	p := startProgram(t, append(both, "--static-master=default="+one.l.Addr().String())...)
	q := startProgram(t, append(both, "--static-master=default="+two.l.Addr().String())...)
	for _, i := range []*running{p, q} {
		eventually(t, "the masters", func() bool {
			return !slices.ContainsFunc(i.status().Labels, func(l api.LabelStatus) bool { return l.Master == nil })
		})
	}
	stdout, _ := ask(t, exitOK, "status", p.admin(), q.admin())
	if got := regexp.MustCompile(`(?m)^! +(\S*) +unix:`).FindAllStringSubmatch(stdout, -1); len(got) != 2 || got[0][1] != "default" || got[1][1] != "" {
		t.Errorf("got marks at %q; want one at each line of default\n%s", got, stdout)
	}
	if !strings.Contains(stdout, "! the instances disagree on the master of: default\n") {
		t.Errorf("got %s; want it said", stdout)
	}
	stdout, _ = ask(t, exitOK, "status", "--json", p.admin(), q.admin())
	d := decoded[statusDocument](t, stdout)
	if len(d.Instances) != 2 || d.Instances[0].Status.PID != os.Getpid() || d.Instances[1].Admin != "unix:"+q.socket {
		t.Errorf("got %+v; want the status of both", d.Instances)
	}
	if len(d.Disagreements) != 1 || d.Disagreements[0].Label != "default" || len(d.Disagreements[0].Masters) != 2 ||
		*d.Disagreements[0].Masters[1].Master != two.l.Addr().String() {
		t.Errorf("got %s; want default, with both masters", stdout)
	}
	stdout, _ = ask(t, exitOK, "status", "--json", p.admin())
	if d := decoded[statusDocument](t, stdout); d.Disagreements == nil || len(d.Disagreements) != 0 {
		t.Errorf("got %v of one instance; want an empty list", d.Disagreements)
	}
}

func TestStatusShowsAPause(t *testing.T) {
	_, _, p := follows(t)
	var v map[string]any
	p.request("POST", "/pause?label=default&for=10m&by=op", &v)
	if stdout, _ := ask(t, exitOK, "status", p.admin()); !regexp.MustCompile(`(?m)^default: paused by op for another (10m0s|9m\d+s)$`).MatchString(stdout) {
		t.Errorf("got %s; want the pause", stdout)
	}
}

func TestInstanceThatIsDownIsNamedAndTheOthersAnswer(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String())
	down := nobody(t)
	for _, command := range []string{"status", "connections", "drain", "undrain"} {
		for _, form := range []string{"--json=false", "--json"} {
			stdout, stderr := ask(t, exitFailed, command, p.admin(), "--admin", down, form)
			if want := "rosproxy: " + down + ": "; !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "connection refused") {
				t.Errorf("%s %s: got %q; want one line of %s", command, form, stderr, down)
			}
			if !strings.Contains(stdout, p.socket) {
				t.Errorf("%s %s: got %q; want the answer of the other", command, form, stdout)
			}
			if form != "--json" {
				continue
			}
			d := decoded[statusDocument](t, stdout)
			if len(d.Instances) != 2 || d.Instances[0].Error != "" || !strings.Contains(d.Instances[1].Error, "connection refused") {
				t.Errorf("%s: got %s; want the error of the one that is down", command, stdout)
			}
		}
	}
}

func TestConnectionsListsThem(t *testing.T) {
	_, one, p := follows(t)
	a, b := p.connected(one), p.connected(one)
	if stdout, _ := ask(t, exitOK, "connections", p.admin(), "--limit=1"); strings.Count(stdout, "\n") != 2 {
		t.Errorf("--limit 1: got %s; want a title and a line", stdout)
	}
	stdout, _ := ask(t, exitOK, "connections", p.admin(), "--label=default")
	for _, c := range []*client{a, b} {
		want := `(?m)^ *\d+ +default +` + regexp.QuoteMeta(c.LocalAddr().String()) + ` +` + regexp.QuoteMeta(one.l.Addr().String()) + ` +1 +\d+s +0 +4 +relaying$`
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("got no %s in\n%s", want, stdout)
		}
	}
	stdout, _ = ask(t, exitOK, "connections", p.admin(), "--json")
	d := decoded[struct {
		Instances []struct{ Connections []api.Connection }
	}](t, stdout)
	if len(d.Instances) != 1 || len(d.Instances[0].Connections) != 2 || d.Instances[0].Connections[0].Label != "default" {
		t.Errorf("got %s; want two connections", stdout)
	}
	if _, stderr := ask(t, exitFailed, "connections", p.admin(), "--label=asia"); !strings.Contains(stderr, p.socket) || !strings.Contains(stderr, `label "asia"`) {
		t.Errorf("unknown label: got %q; want it said", stderr)
	}
}

func TestTokenIsSentFromItsFile(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, one, p := follows(t, "--admin-token-file="+token)
	p.connected(one)
	for _, command := range []string{"connections", "drain", "undrain"} {
		if _, stderr := ask(t, exitFailed, command, p.admin()); !strings.Contains(stderr, p.socket) || !strings.Contains(stderr, "401 Unauthorized: a bearer token is required") {
			t.Errorf("%s without: got %q; want it refused", command, stderr)
		}
		ask(t, exitOK, command, p.admin(), "--admin-token-file", token)
	}
	ask(t, exitOK, "status", p.admin())
	ask(t, exitUsage, "status", p.admin(), "--admin-token-file", token+"x")
	code, stdout, _ := runOnce(t, []string{"connections"}, []string{"ROSPROXY_ADMIN=unix:" + p.socket, "ROSPROXY_ADMIN_TOKEN_FILE=" + token})
	if code != exitOK || !strings.Contains(stdout, "relaying") {
		t.Errorf("from the environment: got %d %q; want the connection", code, stdout)
	}
}

// TestNamesOfConsulDoNotReachATerminalRaw: whoever may register a service could
// rewrite the screen of who looks.
func TestNamesOfConsulDoNotReachATerminalRaw(t *testing.T) {
	consul := startConsul(t)
	one := startWorker(t, "one")
	s := one.service(asMaster, inGroup)
	s.ID, s.Status = "sync\x1b[2J\x1b]0;owned\a\u009b31m\u202egnp", "critical"
	consul.Register(s)
	p := startProgram(t, "--consul-addr="+consul.Addr)
	eventually(t, "the candidate", func() bool { return len(p.label().Failing) > 0 })
	for _, form := range []string{"--json=false", "--json"} {
		stdout, stderr := ask(t, exitOK, "status", p.admin(), form)
		if i := strings.IndexFunc(stdout+stderr, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: got %q; want only what prints", form, stdout)
		}
		if !strings.Contains(stdout, "owned") {
			t.Errorf("%s: got %q; want the name", form, stdout)
		}
	}
}

func TestClientCommandEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var stderr bytes.Buffer
	code := Program{Args: []string{"status", "--admin", l.Addr().String()}, Stdout: &bytes.Buffer{}, Stderr: &stderr}.Run(ctx)
	if code != exitFailed || !strings.Contains(stderr.String(), l.Addr().String()) {
		t.Errorf("got %d %q; want 1 and the instance", code, stderr.String())
	}
}
