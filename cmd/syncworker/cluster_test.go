package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// onEveryConsul runs a test with the double and with the real Consul.
func onEveryConsul(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("double", func(t *testing.T) {
		test(t, newClusterWith(t, func() (string, *api.Client) {
			s := consultest.NewServer()
			t.Cleanup(s.Close)
			return s.Addr, s.Client()
		}))
	})
	t.Run("consul", func(t *testing.T) {
		test(t, newClusterWith(t, func() (string, *api.Client) {
			a := realconsul.StartDev(t)
			return a.Addr, a.Client()
		}))
	})
}

// cluster is a label's workers, each a process of its own.
type cluster struct {
	t      *testing.T
	consul string
	api    *api.Client
	procs  map[string]*exec.Cmd // by SYNC_ID
	addrs  map[string]string
	dir    string
	logs   []string

	newConsul func() (addr string, client *api.Client) // one more of the same kind
}

func newClusterWith(t *testing.T, newConsul func() (string, *api.Client)) *cluster {
	addr, client := newConsul()
	c := newCluster(t, addr, client)
	c.newConsul = newConsul
	return c
}

func newCluster(t *testing.T, addr string, client *api.Client) *cluster {
	c := &cluster{t: t, consul: addr, api: client, dir: t.TempDir(), procs: map[string]*exec.Cmd{}, addrs: map[string]string{}}
	t.Cleanup(func() {
		for id := range c.procs {
			c.kill(id)
		}
		if !t.Failed() {
			return
		}
		for _, f := range c.logs {
			b, _ := os.ReadFile(f)
			t.Logf("%s:\n%s", filepath.Base(f), b)
		}
	})
	return c
}

// start runs the worker id, at the address that it had before: one that no
// outgoing connection of this machine takes while the worker is down.
func (c *cluster) start(id string, flags ...string) {
	c.t.Helper()
	if c.addrs[id] == "" {
		c.addrs[id] = fmt.Sprintf("127.%d.%d.%d:7800", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	}
	file, err := os.Create(filepath.Join(c.dir, fmt.Sprintf("worker-%s-%d.log", id, len(c.logs))))
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	c.logs = append(c.logs, file.Name())
	p := exec.Command(os.Args[0], append([]string{"--consul-addr", c.consul, "--listen", c.addrs[id]}, flags...)...)
	p.Env = append(os.Environ(), asWorker+"=1", "SYNC_ID="+id, "SYNC_LABEL=red")
	p.Stderr = file
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.procs[id] = p
}

func (c *cluster) signal(id string, s syscall.Signal) {
	c.t.Helper()
	if err := c.procs[id].Process.Signal(s); err != nil {
		c.t.Fatalf("signal worker %s: %v", id, err)
	}
}

// freeze stops a worker and returns when none of its threads runs any more.
func (c *cluster) freeze(id string) {
	c.t.Helper()
	c.signal(id, syscall.SIGSTOP)
	eventually(c.t, "worker "+id+" is frozen", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.procs[id].Process.Pid))
		for _, f := range stats {
			if b, err := os.ReadFile(f); err != nil || !strings.Contains(string(b), ") T ") {
				return false
			}
		}
		return true
	})
}

func (c *cluster) kill(id string) {
	c.procs[id].Process.Kill()
	c.procs[id].Wait() //nolint:errcheck // killed
	delete(c.procs, id)
}

// stop ends a worker as an operator does, and wants it to exit with 0.
func (c *cluster) stop(id string) {
	c.t.Helper()
	c.signal(id, syscall.SIGTERM)
	timer := time.AfterFunc(testTimeout, func() { c.procs[id].Process.Kill() })
	defer timer.Stop()
	if err := c.procs[id].Wait(); err != nil {
		c.t.Errorf("stop worker %s: %v; want exit status 0", id, err)
	}
	delete(c.procs, id)
}

// roles are the roles registered, by SYNC_ID; of the passing workers only.
func (c *cluster) roles() map[string]string {
	c.t.Helper()
	entries, _, err := c.api.Health().Service("sync", "label=red", true, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	roles := map[string]string{}
	for _, e := range entries {
		id := strings.TrimPrefix(e.Service.ID, "sync-red-")
		for _, tag := range e.Service.Tags {
			if role, ok := strings.CutPrefix(tag, "role="); ok {
				roles[id] += role
			}
		}
	}
	return roles
}

func (c *cluster) wantRoles(want map[string]string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("roles are %v", want), func() bool {
		return fmt.Sprint(c.roles()) == fmt.Sprint(want)
	})
}

// who waits for one master, slave and spare, whichever worker has which role,
// and for the slave to be in sync.
func (c *cluster) who() (master, slave, spare string) {
	c.t.Helper()
	eventually(c.t, "there are a master, a slave in sync and a spare", func() bool {
		by := map[string]string{}
		for id, role := range c.roles() {
			by[role] = id
		}
		master, slave, spare = by["master"], by["slave"], by["spare"]
		return len(by) == 3 && c.inSync(master, slave)
	})
	return master, slave, spare
}

func (c *cluster) inSync(master, slave string) bool {
	return strings.Contains(dial(c.t, c.addrs[master]).ask("STATUS"), " in-sync="+slave)
}

// holds tells which records of 1 to n of the client "c" the worker has.
func (c *cluster) holds(id string) map[string]bool {
	c.t.Helper()
	conn := dial(c.t, c.addrs[id])
	n, err := strconv.Atoi(strings.TrimPrefix(conn.ask("DUMP"), "RECORDS "))
	if err != nil {
		c.t.Fatalf("dump worker %s: %v", id, err)
	}
	got := map[string]bool{}
	for range n {
		got[readString(c.t, conn.in)] = true
	}
	return got
}

// write writes records from..to and wants each acknowledged by the worker.
func (c *cluster) write(id string, from, to int) {
	c.t.Helper()
	conn := dial(c.t, c.addrs[id])
	for n := from; n <= to; n++ {
		if got, want := conn.ask(fmt.Sprintf("PUT c %d", n)), fmt.Sprintf("OK %d %s ", n, id); !strings.HasPrefix(got, want) {
			c.t.Fatalf("PUT c %d to worker %s got %q; want %q", n, id, got, want)
		}
	}
}

// wantRecords wants a worker to hold the records 1 to n.
func (c *cluster) wantRecords(id string, n int) {
	c.t.Helper()
	got := c.holds(id)
	for i := 1; i <= n; i++ {
		if !got[fmt.Sprintf("c %d", i)] {
			c.t.Errorf("worker %s lacks record %d of %d, which was acknowledged", id, i, n)
		}
	}
}

// another is a group in another data centre, whose Consul is of the same kind.
func (c *cluster) another() *cluster {
	c.t.Helper()
	addr, client := c.newConsul()
	o := newCluster(c.t, addr, client)
	o.newConsul = c.newConsul
	return o
}
