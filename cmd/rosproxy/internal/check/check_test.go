package check

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// run runs the check with args and env.
func run(t *testing.T, args, env []string) (ok bool, out string) {
	t.Helper()
	_, c, err := config.Parse(append([]string{"check"}, args...), env, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	source, err := c.NewSource(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	ok = Run(t.Context(), c, source, &b)
	return ok, b.String()
}

// checked runs the check with listeners that are free, and the default admin
// address replaced.
func checked(t *testing.T, args ...string) (ok bool, out string) {
	t.Helper()
	ok, out = run(t, append([]string{"--admin-listen=127.0.0.1:0", "--listen=default=127.0.0.1:0"}, args...), nil)
	for line := range strings.Lines(out) {
		if grade := strings.TrimSpace(line[:4]); grade != "ok" && grade != "warn" && grade != "FAIL" {
			t.Errorf("got line %q; want it to begin with a grade", line)
		}
	}
	if failed := strings.Contains(out, "FAIL"); failed == ok {
		t.Errorf("got %t with\n%s", ok, out)
	}
	return ok, out
}

// startConsul starts a double of Consul.
func startConsul(t *testing.T) *consultest.Server {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	return s
}

// tags are those of a master of the group default.
var tags = []string{"role=master", "label=default"}

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
	at, port := startMaster(t)
	consul.Register(consultest.Service{ID: "sync-1", Name: "sync", Address: "127.0.0.1", Port: port, Tags: tags})
	ok, out := checked(t, "--consul-addr="+consul.Addr)
	if !ok {
		t.Errorf("got a failure; want none\n%s", out)
	}
	wantLine(t, out, "ok   configuration: listener default on ")
	wantLine(t, out, "ok   consul "+consul.Addr)
	wantLine(t, out, "ok   master of default at consul "+consul.Addr+": "+at+" (sync-1 on ")
	wantLine(t, out, "ok   master of default at "+at+": accepts connections")
	wantLine(t, out, "ok   listen default=127.0.0.1:0")
}

// startMaster starts a listener that accepts.
func startMaster(t *testing.T) (address string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

func TestCheckDialsEachMaster(t *testing.T) {
	up, _ := startMaster(t)
	_, down, err := net.SplitHostPort(unusedAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	ok, out := checked(t, "--listen=up=127.0.0.1:0", "--listen=down=127.0.0.1:0", "--static-master=up="+up, "--static-master=localhost:"+down)
	if ok {
		t.Error("got success; want a failure")
	}
	wantLine(t, out, "ok   master of up at "+up+": accepts connections")
	wantLine(t, out, "FAIL master of down at localhost:"+down+": connect: connection refused")
	ok, out = checked(t, "--static-master="+up)
	if !ok {
		t.Errorf("got a failure; want none\n%s", out)
	}
}

// unusedAddress is one where nobody listens, and that no other test is given.
func unusedAddress(t *testing.T) string {
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

// TestCheckFailsForAMasterThatIsOneOfOurOwnListeners, by whatever address: one
// client would become as many connections as there may be.
func TestCheckFailsForAMasterThatIsOneOfOurOwnListeners(t *testing.T) {
	_, port, err := net.SplitHostPort(unusedAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	for listen, master := range map[string]string{
		"127.0.0.1:" + port: "localhost:" + port,
		":" + port:          "127.0.0.1:" + port,
		"0.0.0.0:" + port:   "127.0.0.1:" + port,
		"[::]:" + port:      "[::1]:" + port,
	} {
		ok, out := run(t, []string{"--admin-listen=127.0.0.1:0", "--listen=a=" + listen, "--static-master=" + master}, nil)
		if ok {
			t.Errorf("%s: got success; want a failure", listen)
		}
		wantLine(t, out, "FAIL master of a at "+master+": it is one of our own listeners")
	}
}

func TestCheckShowsThePorts(t *testing.T) {
	at, _ := startMaster(t)
	ports, err := readProcInts(procPortRange, 2)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("ports: net.ipv4.ip_local_port_range %d to %d has %d for the connections to a master", ports[0], ports[1], ports[1]-ports[0]+1)
	_, out := checked(t, "--static-master="+at, "--max-conns=10")
	wantLine(t, out, "ok   "+text)
	_, out = checked(t, "--static-master="+at, "--max-conns=100000")
	wantLine(t, out, "warn "+text+"; there is room for 100000 connections")
	reuse, err := readProcInt(procTWReuse)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("ports: net.ipv4.tcp_tw_reuse is %d", reuse)
	if reuse == 2 {
		want = fmt.Sprintf("%s, for the loopback alone; to a master elsewhere there are ports for %d connections a second", want, (ports[1]-ports[0]+1)/60)
	}
	if !strings.Contains(out, want) {
		t.Errorf("got\n%s\nwant %s", out, want)
	}
}

// TestCheckSaysWhatACongestionControlThatPacesCosts, where no queueing discipline paces.
func TestCheckSaysWhatACongestionControlThatPacesCosts(t *testing.T) {
	const static = "--static-master=127.0.0.1:1"
	if _, out := checked(t, static, "--congestion-control=reno"); !strings.Contains(out, "ok   congestion control: reno\n") {
		t.Errorf("reno: got\n%s", out)
	}
	qdisc, err := readProc(procQdisc)
	if err != nil {
		t.Fatal(err)
	}
	if _, out := checked(t, static, "--congestion-control=bbr"); strings.Contains(out, "warn congestion control: bbr takes a timer") != (qdisc != "fq") {
		t.Errorf("bbr, and %s: got\n%s", qdisc, out)
	}
}

func TestCheckSaysWhatIsWrongWithConsul(t *testing.T) {
	consul := startConsul(t)
	ok, out := checked(t, "--consul-addr="+consul.Addr)
	if ok {
		t.Error("no master: got success; want a failure")
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+": none found")

	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "10.0.0.1", Port: 1, Tags: tags, Status: consultest.Warning})
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok {
		t.Error("a candidate whose check warns: got success; want a failure")
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+`: none whose checks pass: "a" on `)

	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "nowhere.invalid", Port: 1, Tags: tags})
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok {
		t.Error("a master whose name does not resolve: got success; want a failure")
	}
	wantLine(t, out, "FAIL master of default at consul "+consul.Addr+": nobody can be connected to it: address not resolved (a on ")

	undo := consul.Inject(consultest.Denied())
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok || strings.Contains(out, "none found") {
		t.Errorf("denied: got %t\n%s\nwant a failure, and not that there is none", ok, out)
	}
	undo()

	_, onePort := startMaster(t)
	two, twoPort := startMaster(t)
	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "127.0.0.1", Port: onePort, Tags: tags},
		consultest.Service{ID: "b", Name: "sync", Address: "127.0.0.1", Port: twoPort, Tags: tags})
	if ok, out = checked(t, "--consul-addr="+consul.Addr); !ok {
		t.Errorf("two masters: got a failure; want none")
	}
	wantLine(t, out, "warn master of default at consul "+consul.Addr+": 2 claim to be it: "+two+" (b on ")

	consul.Stop()
	if ok, out = checked(t, "--consul-addr="+consul.Addr); ok {
		t.Errorf("unreachable: got success; want a failure")
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
	ok, out := run(t, []string{
		"--static-master=127.0.0.1:1",
		"--listen=used=" + l.Addr().String(), "--listen=foreign=192.0.2.1:1", "--listen=unbound=:0",
		"--admin-listen=unix:" + missing, "--agent-check-listen=localhost:" + port,
	}, nil)
	if ok {
		t.Error("got success; want a failure")
	}
	wantLine(t, out, "warn listen used="+l.Addr().String()+": in use")
	wantLine(t, out, "FAIL listen foreign=192.0.2.1:1: bind: cannot assign requested address")
	wantLine(t, out, "ok   listen unbound=:0")
	wantLine(t, out, "FAIL admin listen unix:"+missing)
	wantLine(t, out, "warn agent check listen localhost:"+port+" at 127.0.0.1:"+port+": in use")
	wantLine(t, out, "ok   master of used: 127.0.0.1:1 (static)")
}

func TestCheckHoldsMaxConnsAgainstTheLimit(t *testing.T) {
	const most = 16 << 20
	_, out := checked(t, "--static-master=127.0.0.1:1", fmt.Sprintf("--max-conns=%d", most))
	wantLine(t, out, fmt.Sprintf("FAIL open files: --max-conns %d is more than the limit of ", most))
}

func TestCheckWarnsOfATokenFileThatOthersRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, out := checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "ok   token file")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, out = checked(t, "--static-master=127.0.0.1:1", "--admin-token-file="+path)
	wantLine(t, out, "warn token file")
}

func TestCheckHasTheShellReadTheCommandWithoutRunningIt(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	_, out := checked(t, "--static-master=127.0.0.1:1", "--on-failover=echo >"+ran)
	wantLine(t, out, "ok   on-failover: the shell understands the command")
	if _, err := os.Stat(ran); err == nil {
		t.Error("check has run the command")
	}
	if ok, out := checked(t, "--static-master=127.0.0.1:1", "--on-failover=if true"); ok {
		t.Errorf("got all well of half a command:\n%s", out)
	} else {
		wantLine(t, out, "FAIL on-failover: exit status 2: ")
	}
}

func TestCheckWarnsOfOddConfiguration(t *testing.T) {
	_, out := run(t, []string{"--static-master=127.0.0.1:1"}, []string{"ROSPROXY_DRAIN_GRASE=1s"})
	wantLine(t, out, "warn configuration: ROSPROXY_DRAIN_GRASE is set, but there is no such flag")
}
