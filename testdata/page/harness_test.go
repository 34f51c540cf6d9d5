// The status page in a real browser: Chromium, driven over its debugging protocol,
// with the real rosproxy and a real Consul behind it. It is a module of its own: the
// product needs no browser's driver.
package page

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// program is built by make.
const program = "../../bin/rosproxy"

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", testTimeout, what)
		}
	}
}

// instance is a running rosproxy.
type instance struct {
	t     *testing.T
	admin string // its URL
}

// start starts rosproxy, with its endpoints at a free port, and waits until they answer.
func start(t *testing.T, args ...string) *instance {
	t.Helper()
	c := exec.Command(program, append([]string{"--admin-listen=127.0.0.1:0", "--log-format=json", "--drain-grace=1s"}, args...)...)
	log, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatalf("start rosproxy, which make build makes: %v", err)
	}
	i := &instance{t: t}
	addresses := make(chan string, 1)
	read := make(chan string, 1)
	go func() {
		defer close(addresses)
		read <- readLog(log, addresses)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		text := <-read
		_ = c.Wait()
		if t.Failed() {
			t.Logf("log of rosproxy:\n%s", text)
		}
	})
	select {
	case address, ok := <-addresses:
		if !ok {
			t.Fatal("rosproxy has ended")
		}
		i.admin = "http://" + address
	case <-time.After(testTimeout):
		t.Fatal("rosproxy has opened no endpoints")
	}
	return i
}

// readLog reads a log to its end, and finds the address of the endpoints.
func readLog(from io.Reader, addresses chan<- string) string {
	var text strings.Builder
	for s := bufio.NewScanner(from); s.Scan(); {
		fmt.Fprintln(&text, s.Text())
		var l struct{ Component, Message, Address string }
		if json.Unmarshal(s.Bytes(), &l) == nil && l.Component == "admin" && l.Message == "listener opened" {
			addresses <- l.Address
		}
	}
	return text.String()
}

// status is what the tests need of /status.
type status struct {
	Labels []struct {
		Label, Listen string
		Active        int
		Master        *struct{ Address string }
		Paused        *struct{}
	}
}

func (i *instance) status() (s status) {
	i.t.Helper()
	r, err := http.Get(i.admin + "/status")
	if err != nil {
		i.t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		i.t.Fatal(err)
	}
	return s
}

// listen is where a label's clients connect.
func (i *instance) listen(label string) string {
	i.t.Helper()
	for _, l := range i.status().Labels {
		if l.Label == label {
			return l.Listen
		}
	}
	i.t.Fatalf("no label %s", label)
	return ""
}

// master is a worker that answers as many bytes as each request asks for.
type master struct {
	name    string
	address string
}

func startMaster(t *testing.T, name string) *master {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			open.Go(func() {
				defer c.Close()
				answerAll(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return &master{name, l.Addr().String()}
}

// A request is how long the rest of it is, how long an answer it wants, and the rest.
func answerAll(c net.Conn) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:]))); err != nil {
			return
		}
		if _, err := c.Write(make([]byte, binary.BigEndian.Uint32(head[4:]))); err != nil {
			return
		}
	}
}

// register tells Consul of a worker of a label; a master has the tag.
func register(t *testing.T, agent *realconsul.Agent, m *master, label, role string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(m.address)
	n, err := net.LookupPort("tcp", port)
	if err == nil {
		err = agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: m.name, Name: "sync", Address: host, Port: n, Tags: []string{"role=" + role, "label=" + label},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// load is what a client does: requests of so many bytes, with answers of so many, one
// after the other, with a pause between them.
type load struct {
	request, answer int
	pause           func() time.Duration
}

func steady(request, answer int, pause time.Duration) load {
	return load{request, answer, func() time.Duration { return pause }}
}

// traffic has clients of a label until the test ends; one that is cut off comes back.
func traffic(t *testing.T, address string, clients int, l load) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for ctx.Err() == nil {
				l.run(ctx, address)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// run returns when the connection has ended.
func (l load) run(ctx context.Context, address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	request := make([]byte, 8+l.request)
	binary.BigEndian.PutUint32(request, uint32(l.request))
	binary.BigEndian.PutUint32(request[4:], uint32(l.answer))
	for ctx.Err() == nil {
		if _, err := c.Write(request); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(l.answer)); err != nil {
			return
		}
		time.Sleep(l.pause())
	}
}

// tokenFile is a file with the admin token.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
