package packages_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// service is rosproxy.service of the packages, on the machine, in front of a master.
type service struct {
	*machine
	master net.Listener
}

const (
	listens = "127.0.0.1:7800"
	atWork  = "127.0.0.1:9000" // the master
)

// configured is what the tests begin with.
const configured = `drain-grace: 0s
drain-timeout: 3s
listeners:
  - {label: default, listen: ":7800", static-master: "` + atWork + `"}
`

// installedService gives the service of the package as it is after the installation, but
// for that configuration. A test before may have left another version.
func installedService(t *testing.T) *service {
	t.Helper()
	s := &service{machine: booted(t)}
	s.endAtOnce()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal:\n%s", s.journal())
		}
		s.endAtOnce()
	})
	s.begun = time.Now()
	if want := strings.TrimSpace(output(t, "dpkg-deb", "--field", packageIn(t, built.current, debEnding()), "Version")); s.version() != want {
		_, _ = s.try("dpkg", "--purge", "rosproxy")
		s.install(built.current)
	}
	s.configure(configured)
	var err error
	if s.master, err = s.listen(atWork); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.master.Close() })
	go echo(s.master)
	return s
}

// install installs a package, or upgrades to it, and gives what dpkg said.
func (s *service) install(dir string) string {
	s.t.Helper()
	return s.run("dpkg", "--force-unsafe-io", "--install", s.bring(packageIn(s.t, dir, debEnding())))
}

// version is that of the package on the machine; empty: there is none.
func (s *service) version() string {
	out, _ := s.try("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", "rosproxy")
	version, _ := strings.CutPrefix(out, "installed ")
	return version
}

// endAtOnce ends whatever a test has left, and what it has set of the units.
func (s *service) endAtOnce() {
	_, _ = s.try("/bin/sh", "-c", `systemctl stop rosproxy.socket
		systemctl kill --signal SIGKILL rosproxy.service
		systemctl disable --now rosproxy.service
		systemctl revert rosproxy.service rosproxy.socket
		systemctl reset-failed rosproxy.service`)
}

func (s *service) configure(text string) {
	s.t.Helper()
	s.write("/etc/rosproxy/rosproxy.yaml", text)
}

// dropIn overrides settings of the unit.
func (s *service) dropIn(unit, text string) {
	s.t.Helper()
	s.run("mkdir", "-p", "/etc/systemd/system/"+unit+".d")
	s.write("/etc/systemd/system/"+unit+".d/test.conf", text)
	s.run("systemctl", "daemon-reload")
}

func (s *service) start() {
	s.t.Helper()
	s.run("systemctl", "start", "rosproxy.service")
}

// show is a property of the unit.
func (s *service) show(property string) string {
	s.t.Helper()
	return s.run("systemctl", "show", "--property", property, "--value", "rosproxy.service")
}

// mainPID is the service's main process, by its number on the machine.
func (s *service) mainPID() int {
	s.t.Helper()
	pid, err := strconv.Atoi(s.show("MainPID"))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

func (s *service) signal(pid int, name string) {
	s.t.Helper()
	s.run("/bin/sh", "-c", fmt.Sprintf("kill -s %s %d", name, pid))
}

// expect waits until a property is so; of the status line, until want is part of it.
func (s *service) expect(property, want string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s=%s", property, want), func() bool {
		got := s.show(property)
		return got == want || property == "StatusText" && strings.Contains(got, want)
	})
}

// expectLogged waits until the log of the service has that in it, which comes a
// moment after what it tells.
func (s *service) expectLogged(want string) {
	s.t.Helper()
	eventually(s.t, want+" in the journal", func() bool { return strings.Contains(s.journal(), want) })
}

// echo greets each client and gives back what it says.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.WriteString(c, "hello\n")
			_, _ = io.Copy(c, c)
		}()
	}
}

// client is a connection through rosproxy.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// connect connects, and is greeted by the master.
func (s *service) connect() *client {
	s.t.Helper()
	c := s.dialService()
	c.expectLine("hello")
	return c
}

func (s *service) dialService() *client {
	s.t.Helper()
	conn, err := s.dial(listens)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	return &client{s.t, conn, bufio.NewReader(conn)}
}

func (c *client) expectLine(want string) {
	c.t.Helper()
	got, err := c.in.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != want {
		c.t.Fatalf("got %q, %v; want %q of the master", got, err, want)
	}
}

// isAlive says a word to the master and hears it again.
func (c *client) isAlive() {
	c.t.Helper()
	if _, err := io.WriteString(c, "alive\n"); err != nil {
		c.t.Fatalf("write through rosproxy: %v", err)
	}
	c.expectLine("alive")
}

// get asks an admin endpoint.
func (s *service) get(path string) string {
	s.t.Helper()
	return s.ask("127.0.0.1:7802", "GET", path, "")
}

// ask sends one request to a server on the machine, and gives the whole answer;
// empty: nobody listens.
func (s *service) ask(address, method, path, body string) string {
	s.t.Helper()
	c, err := s.dial(address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return ""
	} else if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body); err != nil {
		s.t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(answer)
}

// ip runs ip(8) of this machine in the network of that one, which has none.
func (s *service) ip(args ...string) {
	s.t.Helper()
	output(s.t, "nsenter", append([]string{"--target", strconv.Itoa(s.init), "--net", "--", "ip"}, args...)...)
}
