package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// asProcess is the program with these arguments.
func asProcess(args ...string) *exec.Cmd {
	p := exec.Command(os.Args[0], args...)
	p.Env = append(os.Environ(), asWorker+"=1", "SYNC_LABEL=red")
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p
}

// run runs the program to its end.
func (c *cluster) run(args ...string) (out string, status int) {
	c.t.Helper()
	p := asProcess(args...)
	p.Env = append(p.Env, "CONSUL_HTTP_ADDR="+c.consul)
	timer := time.AfterFunc(testTimeout, func() { p.Process.Kill() })
	defer timer.Stop()
	b, err := p.CombinedOutput()
	if p.ProcessState == nil {
		c.t.Fatalf("run %v: %v", args, err)
	}
	return string(b), p.ProcessState.ExitCode()
}

// background runs the program until the test ends.
func (c *cluster) background(args ...string) {
	c.t.Helper()
	p := asProcess(args...)
	p.Env = append(p.Env, "CONSUL_HTTP_ADDR="+c.consul)
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		p.Process.Kill() //nolint:errcheck // it runs until it is killed
		p.Wait()         //nolint:errcheck // killed
	})
}

// wantBackup waits until the backup goes to record n; it is whole all the while.
func (c *cluster) wantBackup(path string, n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("the backup has %d records", n), func() bool {
		b, err := readBackup(path)
		if err != nil && !os.IsNotExist(errors.Unwrap(err)) {
			c.t.Fatal(err)
		}
		return err == nil && b.Records == n
	})
}

// fills waits until a worker that may just have been started holds n records.
func (c *cluster) fills(id string, n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("worker %s has %d records", id, n), func() bool {
		conn, err := net.Dial("tcp", c.addrs[id])
		if err != nil {
			return false
		}
		conn.Close()
		return len(c.holds(id)) == n
	})
}

// wantRecordsAlone wants a worker to hold the records 1 to n and nothing else.
func (c *cluster) wantRecordsAlone(id string, n int) {
	c.t.Helper()
	c.wantRecords(id, n)
	if got := len(c.holds(id)); got != n {
		c.t.Errorf("worker %s has %d records; want %d", id, got, n)
	}
}

// history is the one that the worker's records are of.
func (c *cluster) history(id string) string {
	c.t.Helper()
	for _, f := range strings.Fields(dial(c.t, c.addrs[id]).ask("STATUS")) {
		if h, ok := strings.CutPrefix(f, "history="); ok {
			return h
		}
	}
	return ""
}

// who2 waits until one worker is the master and the other its slave in sync.
func (c *cluster) who2(master, slave string) {
	c.t.Helper()
	eventually(c.t, slave+" is the slave of "+master, func() bool {
		return c.roles()[master] == "master" && c.inSync(master, slave)
	})
}
