package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

const units = "../../testdata/systemd"

// analyze runs systemd-analyze on a copy of the units whose program exists here.
func analyze(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("systemd-analyze is missing (package systemd); make test installs it: %v", err)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rosproxy.service", "rosproxy.socket"} {
		text := strings.ReplaceAll(unit(t, name), "/usr/local/bin/rosproxy", self)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(tool, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	} else if args[0] == "verify" && len(out) > 0 { // it warns of what it ignores, and exits with 0
		t.Errorf("systemd-analyze %s: got %s; want nothing to say", strings.Join(args, " "), out)
	}
}

func unit(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(units, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// setting gives the value of a line of a unit.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	for line := range strings.Lines(unit) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return v
		}
	}
	t.Fatalf("the unit has no %s=", name)
	return ""
}

func TestUnitsAreValid(t *testing.T) { analyze(t, "verify", "./rosproxy.service", "./rosproxy.socket") }

// The exposure level is in tenths: 12 is "1.2 OK". What is left is what a
// proxy needs: the network, and unix sockets.
func TestUnitIsHardened(t *testing.T) {
	analyze(t, "security", "--offline=true", "--threshold=15", "./rosproxy.service")
}

func TestUnitWaitsLongerThanTheProgram(t *testing.T) {
	_, c, err := config.Parse(nil, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	service := unit(t, "rosproxy.service")
	for name, takes := range map[string]time.Duration{"TimeoutStopSec": c.Drain.Timeout, "TimeoutStartSec": c.UpgradeTimeout} {
		waits, err := time.ParseDuration(setting(t, service, name) + "s")
		if err != nil {
			t.Fatal(err)
		}
		if waits <= takes {
			t.Errorf("%s: got %v; want more than the %v of the program", name, waits, takes)
		}
	}
}

// word is a message to the service manager.
type word struct {
	pid  int
	text string
}

// serviceManager is systemd: it listens, and hands sockets to what it starts.
type serviceManager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
	wg   sync.WaitGroup

	mu    sync.Mutex
	words []word
}

func startServiceManager(t *testing.T, dir string) *serviceManager {
	t.Helper()
	s := &serviceManager{t: t, path: filepath.Join(dir, "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(s.listen)
	t.Cleanup(func() { conn.Close(); s.wg.Wait() })
	return s
}

func (s *serviceManager) listen() {
	b, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, o, _, _, err := s.conn.ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		w := word{text: string(b[:n])}
		if messages, err := unix.ParseSocketControlMessage(oob[:o]); err == nil && len(messages) == 1 {
			if cred, err := unix.ParseUnixCredentials(&messages[0]); err == nil {
				w.pid = int(cred.Pid)
			}
		}
		s.mu.Lock()
		s.words = append(s.words, w)
		s.mu.Unlock()
	}
}

// heard gives the place of the first word of pid that has text in it, from the
// place on; -1 when there is none.
func (s *serviceManager) heard(from, pid int, text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < len(s.words); i++ {
		if s.words[i].pid == pid && strings.Contains(s.words[i].text, text) {
			return i
		}
	}
	return -1
}

// await waits for such a word, and gives its place.
func (s *serviceManager) await(from, pid int, text string) (at int) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Logf("heard: %+v", s.words)
		}
	}()
	eventually(s.t, fmt.Sprintf("%q from %d", text, pid), func() bool {
		at = s.heard(from, pid, text)
		return at >= 0
	})
	return at
}

// activated is the program as systemd starts it: with sockets, named, and a watchdog.
func (g *generations) activated(s *serviceManager, names []string, sockets []*os.File, args ...string) *exec.Cmd {
	c := g.command(args...)
	// LISTEN_PID must be known before the program runs, as only who is to become it does.
	c.Args = append([]string{"/bin/sh", "-c", `export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
	c.Path = "/bin/sh"
	c.ExtraFiles = sockets
	c.Env = append(c.Env, "NOTIFY_SOCKET="+s.path, "WATCHDOG_USEC=200000",
		fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return c
}

// socketOf gives a listening socket as systemd would.
func socketOf(t *testing.T) (file *os.File, address string) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as systemd
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if file, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, l.Addr().String()
}

func TestServiceManagerIsToldAndItsSocketsAreServed(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	s := startServiceManager(t, g.dir)
	europe, inEurope := socketOf(t)
	asia, inAsia := socketOf(t)
	admin, adminAddress := socketOf(t)
	stray, _ := socketOf(t)
	g.start(g.activated(s, []string{"asia", "admin", "nobody", "europe"}, []*os.File{asia, admin, stray, europe},
		"--listen=europe=127.0.0.1:0", "--listen=asia=127.0.0.1:0", "--static-master="+one.l.Addr().String()))
	s.await(0, g.first, "READY=1")
	at := one.l.Addr().String()
	s.await(0, g.first, "STATUS=serving: default "+at+", europe "+at+", asia "+at) // default is opened beside those that were given
	s.await(s.await(0, g.first, "WATCHDOG=1")+1, g.first, "WATCHDOG=1")
	for _, address := range []string{inEurope, inAsia} {
		if err := request(address); err != nil {
			t.Errorf("request at a socket of systemd: %v", err)
		}
	}
	if c, err := net.Dial("tcp", adminAddress); err != nil {
		t.Errorf("admin at a socket of systemd: %v", err)
	} else {
		c.Close()
	}
	if line := g.awaitLine("closing a socket that was given and is not wanted"); line["socket"] != "nobody" {
		t.Errorf("got socket %q closed; want nobody", line["socket"])
	}

	live := dialProxy(t, inEurope)
	live.greetedBy(one)
	g.signal(g.first, syscall.SIGUSR2)
	reload := s.await(0, g.first, "RELOADING=1\nMONOTONIC_USEC=")
	next := int(g.awaitLine("upgrade started")["pid"].(float64))
	main := s.await(reload, g.first, fmt.Sprintf("MAINPID=%d", next))
	ready := s.await(0, next, "READY=1")
	if ready < main {
		t.Errorf("got READY=1 of the new process before MAINPID; want it after: systemd listens to the main process alone")
	}
	s.await(s.await(ready, next, "WATCHDOG=1")+1, next, "WATCHDOG=1") // it has not the old one's WATCHDOG_PID
	g.awaitLine("drain started")
	live.isAlive()
	for _, address := range []string{inEurope, inAsia} {
		if err := request(address); err != nil {
			t.Errorf("request after the upgrade: %v", err)
		}
	}
	live.Close()
	g.awaitGone(g.first)
	g.signal(next, syscall.SIGTERM)
	s.await(ready, next, "STOPPING=1")
	g.await("the end", func() bool { return !g.isOurs(next) })
	if i := s.heard(main+1, g.first, ""); i >= 0 {
		t.Errorf("got %q of the old process after MAINPID; want silence", s.words[i].text)
	}
}

func TestFailedUpgradeIsToldToTheServiceManager(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	s := startServiceManager(t, g.dir)
	socket, address := socketOf(t)
	// Without FileDescriptorName= systemd calls the socket after its unit.
	g.start(g.activated(s, []string{"rosproxy.socket"}, []*os.File{socket}, "--static-master="+one.l.Addr().String()))
	s.await(0, g.first, "READY=1")
	g.replace("exit 7")
	g.signal(g.first, syscall.SIGUSR2)
	at := s.await(0, g.first, "RELOADING=1")
	s.await(at, g.first, "READY=1")
	s.await(at, g.first, "upgrade failed: await the new process")
	if err := request(address); err != nil {
		t.Error(err)
	}
}

func TestClientsWaitInTheSocketOfSystemdWhileNobodyServes(t *testing.T) {
	one := startWorker(t, "one")
	socket, address := socketOf(t)
	g := prepareGenerations(t)
	s := startServiceManager(t, g.dir)
	start := func() {
		g.start(g.activated(s, []string{"default"}, []*os.File{socket}, "--static-master="+one.l.Addr().String()))
		s.await(0, g.first, "READY=1")
	}
	start()
	if err := request(address); err != nil {
		t.Fatal(err)
	}
	g.signal(g.first, syscall.SIGTERM)
	g.awaitGone(g.first)
	waiting := dialProxy(t, address)
	start()
	waiting.greetedBy(one)
}

func TestServiceManagerIsToldWhoServesWhenTheNewProcessDies(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	s := startServiceManager(t, g.dir)
	file, address := socketOf(t)
	g.start(g.activated(s, []string{"default"}, []*os.File{file}, "--static-master="+one.l.Addr().String()))
	g.listen = address
	s.await(0, g.first, "READY=1")
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	next := g.upgrade(g.first)
	at := s.await(0, next, "READY=1")
	g.signal(next, syscall.SIGKILL)
	at = s.await(at, g.first, fmt.Sprintf("MAINPID=%d\nREADY=1", g.first))
	s.await(at, g.first, "WATCHDOG=1")
	s.await(at, g.first, "STATUS=serving")
	dialProxy(t, g.listen).greetedBy(one)
	live.isAlive()
}
