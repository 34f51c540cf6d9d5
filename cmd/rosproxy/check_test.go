package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// checked runs `rosproxy check` with listeners that are free, and the default
// admin address replaced.
func checked(t *testing.T, args ...string) (int, string) {
	t.Helper()
	all := append([]string{"check", "--admin-listen=127.0.0.1:0", "--listen=default=127.0.0.1:0"}, args...)
	code, stdout, stderr := runOnce(t, all, nil)
	if stderr != "" {
		t.Errorf("got stderr %q; want none", stderr)
	}
	for line := range strings.Lines(stdout) {
		if grade := strings.TrimSpace(line[:4]); grade != "ok" && grade != "warn" && grade != "FAIL" {
			t.Errorf("got line %q; want it to begin with a grade", line)
		}
	}
	if failed := strings.Contains(stdout, "FAIL"); failed != (code == exitFailed) {
		t.Errorf("got code %d with\n%s", code, stdout)
	}
	return code, stdout
}

func wantLine(t *testing.T, out, line string) {
	t.Helper()
	for got := range strings.Lines(out) {
		if strings.HasPrefix(got, line) {
			return
		}
	}
	t.Errorf("got\n%s\nwant a line that begins %q", out, line)
}

func TestCheckFindsConsulAndItsMaster(t *testing.T) {
	consul := startConsul(t)
	consul.Register(consultest.Service{ID: "sync-1", Name: "sync", Address: "10.0.0.1", Port: 7800, Tags: []string{asMaster, inGroup}})
	code, out := checked(t, "--consul-addr="+consul.Addr)
	if code != exitOK {
		t.Errorf("got %d; want 0\n%s", code, out)
	}
	wantLine(t, out, "ok   configuration: listeners default")
	wantLine(t, out, "ok   consul "+consul.Addr)
	wantLine(t, out, "ok   master of default at consul "+consul.Addr+": 10.0.0.1:7800 (sync-1 on ")
	wantLine(t, out, "ok   listen default=127.0.0.1:0")
}

func TestCheckSaysWhatIsWrongWithConsul(t *testing.T) {
	consul := startConsul(t)
	code, out := checked(t, "--consul-addr="+consul.Addr)
	if code != exitFailed {
		t.Errorf("no master: got %d; want 1", code)
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+": none found")

	undo := consul.Inject(consultest.Denied())
	if code, out = checked(t, "--consul-addr="+consul.Addr); code != exitFailed || strings.Contains(out, "none found") {
		t.Errorf("denied: got %d\n%s\nwant 1, and not that there is none", code, out)
	}
	undo()

	tags := []string{asMaster, inGroup}
	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "10.0.0.1", Port: 1, Tags: tags},
		consultest.Service{ID: "b", Name: "sync", Address: "10.0.0.2", Port: 1, Tags: tags})
	if code, out = checked(t, "--consul-addr="+consul.Addr); code != exitOK {
		t.Errorf("two masters: got %d; want 0", code)
	}
	wantLine(t, out, "warn master of default at consul "+consul.Addr+": 2 claim to be it: 10.0.0.2:1 (b on ")

	consul.Stop()
	if code, out = checked(t, "--consul-addr="+consul.Addr); code != exitFailed {
		t.Errorf("unreachable: got %d; want 1", code)
	}
	wantLine(t, out, "FAIL consul at "+consul.Addr+" cannot be reached")
}

func TestCheckOpensNoListenerAndJudgesTheAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	missing := t.TempDir() + "/missing/a"
	code, out, _ := runOnce(t, []string{
		"check", "--static-master=127.0.0.1:1",
		"--listen=used=" + l.Addr().String(), "--listen=foreign=192.0.2.1:1", "--listen=unbound=:0",
		"--admin-listen=unix:" + missing, "--agent-check-listen=localhost:" + port,
	}, nil)
	if code != exitFailed {
		t.Errorf("got %d; want 1", code)
	}
	wantLine(t, out, "warn listen used="+l.Addr().String()+": in use")
	wantLine(t, out, "FAIL listen foreign=192.0.2.1:1: bind: cannot assign requested address")
	wantLine(t, out, "ok   listen unbound=:0")
	wantLine(t, out, "FAIL admin listen unix:"+missing)
	wantLine(t, out, "warn agent check listen localhost:"+port+": in use")
	wantLine(t, out, "ok   master of used: 127.0.0.1:1 (static)")
}

func TestCheckHoldsMaxConnsAgainstTheLimit(t *testing.T) {
	_, out := checked(t, "--static-master=127.0.0.1:1", fmt.Sprintf("--max-conns=%d", maxConns))
	wantLine(t, out, fmt.Sprintf("FAIL open files: --max-conns %d needs", maxConns))
}

func TestCheckWarnsOfATokenFileThatOthersRead(t *testing.T) {
	path := tokenFile(t, "secret")
	_, out := checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "ok   token file")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, out = checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "warn token file")
}

func TestCheckWarnsOfOddConfiguration(t *testing.T) {
	_, out, _ := runOnce(t, []string{"check", "--static-master=127.0.0.1:1"}, []string{"ROSPROXY_DRAIN_GRASE=1s"})
	wantLine(t, out, "warn configuration: ROSPROXY_DRAIN_GRASE is set, but there is no such flag")
}
