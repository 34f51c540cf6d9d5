package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv names the role of a process that a test started of its own binary.
// A child takes one command a line on its standard input and answers each with
// one line; it ends with its input.
const childEnv = "ROSPROXY_TEST_ROLE"

// child is such a process, as its parent sees it.
type child struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.Writer
	lines  chan string
	killed bool
}

// newChild starts a process in a role; it ends with the test.
func newChild(t testing.TB, role string) *child {
	t.Helper()
	return startChild(t, role, nil)
}

// newChildWithItsOwnNetwork has nothing in it but a loopback interface that is
// down. It skips the test where such a thing cannot be had.
func newChildWithItsOwnNetwork(t testing.TB, role string) *child {
	t.Helper()
	own := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		own.Cloneflags |= syscall.CLONE_NEWUSER
		own.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	try := exec.Command("/proc/self/exe", "-test.run=^$")
	try.SysProcAttr = own
	if err := try.Run(); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	return startChild(t, role, own)
}

func startChild(t testing.TB, role string, attributes *syscall.SysProcAttr) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.SysProcAttr = attributes
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a %s: %v", role, err)
	}
	c := &child{t: t, cmd: cmd, in: in, lines: make(chan string, 1)}
	go c.readLines(out)
	t.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(testTimeout, func() { cmd.Process.Kill() })
		defer kill.Stop()
		for range c.lines { // until the pipe ends: Wait closes it
		}
		if err := cmd.Wait(); err != nil && !c.killed {
			t.Errorf("%s ended: %v", role, err)
		}
	})
	return c
}

// kill ends the child by SIGKILL, and returns when it is gone.
func (c *child) kill() {
	c.t.Helper()
	c.killed = true
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatalf("kill a child: %v", err)
	}
	for range c.lines { // until the pipe ends
	}
}

func (c *child) readLines(out io.Reader) {
	defer close(c.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		c.lines <- s.Text()
	}
}

// ask sends a command and answers the child's answer.
func (c *child) ask(command string, args ...any) string {
	c.t.Helper()
	fmt.Fprintf(c.in, command+"\n", args...)
	select {
	case line, ok := <-c.lines:
		if !ok || strings.HasPrefix(line, "error") {
			c.t.Fatalf("child asked to %q: got %q", fmt.Sprintf(command, args...), line)
		}
		return line
	case <-time.After(4 * testTimeout):
		c.t.Fatalf("child asked to %q: no answer", fmt.Sprintf(command, args...))
		return ""
	}
}

// want asks and compares the answer.
func (c *child) want(answer, command string, args ...any) {
	c.t.Helper()
	if got := c.ask(command, args...); got != answer {
		c.t.Fatalf("child asked to %q: got %q; want %q", fmt.Sprintf(command, args...), got, answer)
	}
}

// runChild is the main function of a child.
func runChild(role string) int {
	handle := map[string]func() func(verb string, args []string) string{
		"clients":   newClientsRole,
		"masters":   newMastersRole,
		"proxy":     newProxyRole,
		"leased":    newLeasedRole,
		"itself":    newItselfRole,
		"handshake": newHandshakeRole,
	}[role]()
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		f := strings.Fields(s.Text())
		fmt.Println(handle(f[0], f[1:]))
	}
	return 0
}

// answering makes the role of a child that does one thing, and answers what came of it.
func answering(do func() (string, error)) func(string, []string) string {
	return func(string, []string) string {
		answer, err := do()
		if err != nil {
			return fmt.Sprint("error: ", err)
		}
		return answer
	}
}

// countEnds reads every connection to its end and counts how they ended.
func countEnds(conns []*net.TCPConn) string {
	counts := make(map[string]int)
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(testTimeout))
		switch n, err := c.Read(make([]byte, 1)); {
		case n > 0:
			counts["data"]++
		case err == io.EOF:
			counts["eof"]++
		case errors.Is(err, syscall.ECONNRESET):
			counts["reset"]++
		default:
			counts["alive"]++
		}
		c.Close()
	}
	return fmt.Sprint(counts) // a map prints in the order of its keys
}

// newClientsRole connects many clients and says how they ended:
//
//	connect ADDRESS N    connects, and waits for each one's byte from the master
//	end                  waits for the end of each
//	reset                resets each
func newClientsRole() func(string, []string) string {
	var conns []*net.TCPConn
	return func(verb string, args []string) string {
		switch verb {
		case "connect":
			var addr string
			var n int
			fmt.Sscan(strings.Join(args, " "), &addr, &n)
			for i := range n {
				d := net.Dialer{Timeout: testTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(1+i%8))}}
				c, err := d.Dial("tcp", addr)
				if err != nil {
					return fmt.Sprintf("error: connect %d: %v", i, err)
				}
				conns = append(conns, c.(*net.TCPConn))
			}
			for i, c := range conns {
				c.SetReadDeadline(time.Now().Add(testTimeout))
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					return fmt.Sprintf("error: greeting of client %d: %v", i, err)
				}
			}
			return fmt.Sprint(len(conns))
		case "end":
			defer func() { conns = nil }()
			return countEnds(conns)
		case "reset":
			for _, c := range conns {
				c.SetLinger(0)
				c.Close()
			}
			conns = nil
			return "done"
		}
		return "error: no such command"
	}
}

// newMastersRole is any number of masters that greet with one byte:
//
//	listen     opens one more and answers its address
//	end I      waits for the end of each connection that the I-th ever had
func newMastersRole() func(string, []string) string {
	type one struct{ conns chan *net.TCPConn }
	var all []one
	return func(verb string, args []string) string {
		switch verb {
		case "listen":
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return fmt.Sprint("error: ", err)
			}
			m := one{make(chan *net.TCPConn, 20000)}
			all = append(all, m)
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					m.conns <- c.(*net.TCPConn) // before its client knows, who may ask for the end at once
					c.Write([]byte{'m'})
				}
			}()
			return ln.Addr().String()
		case "end":
			var i int
			fmt.Sscan(args[0], &i)
			var conns []*net.TCPConn
			for len(all[i].conns) > 0 {
				conns = append(conns, <-all[i].conns)
			}
			return countEnds(conns)
		}
		return "error: no such command"
	}
}
