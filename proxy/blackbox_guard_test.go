package proxy_test

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// newLeasedRole is a proxy whose leases are guarded: "serve MASTER GUARDED",
// "lease MILLISECONDS", "cut".
func newLeasedRole() func(string, []string) string {
	var p *proxy.Proxy
	do := func(verb string, args []string) (string, error) {
		switch verb {
		case "serve":
			c := config()
			c.Listeners[0].KillAfterLease = args[1] == "guarded"
			var err error
			if p, err = proxy.New(c, zerolog.Nop()); err != nil {
				return "", err
			}
			go p.Serve(context.Background())
			p.SetMaster("default", proxy.Master{Address: netip.MustParseAddrPort(args[0])})
			return p.Snapshot().Labels[0].Listen, nil
		case "lease":
			d, err := time.ParseDuration(args[0])
			if err != nil {
				return "", err
			}
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
				return "", err
			}
			p.Lease("default", time.Duration(now.Nano())+d)
		case "cut":
			p.SetMaster("default", proxy.Master{})
		}
		return "done", nil
	}
	return func(verb string, args []string) string {
		answer, err := do(verb, args)
		if err != nil {
			return fmt.Sprint("error: ", err)
		}
		return answer
	}
}

// leased starts one, with a live connection if connected.
func leased(t *testing.T, guarded string, connected bool) *child {
	t.Helper()
	m := newMaster(t, nil)
	c := newChild(t, "leased")
	address := c.ask("serve %s %s", m.addr, guarded)
	if connected {
		client, err := dialTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		relays(t, client, m.next())
	}
	return c
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// isKilled waits for the end of the child.
func (c *child) isKilled() {
	c.t.Helper()
	c.killed = true
	select {
	case line, ok := <-c.lines:
		if ok {
			c.t.Fatalf("got %q from a child; want it killed", line)
		}
	case <-time.After(testTimeout):
		c.signal(syscall.SIGCONT)
		c.t.Fatal("waited in vain for a child to be killed")
	}
}

// outlives lets d pass, and checks that the child is alive after it.
func (c *child) outlives(d time.Duration) {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		c.killed = !ok
		c.t.Fatalf("got %q, %v from a child that should be stopped", line, ok)
	case <-time.After(d):
	}
}

// beyond is when a lease of a second has ended for long enough.
const beyond = 2500 * time.Millisecond

func TestStoppedProcessIsKilledAfterItsLease(t *testing.T) {
	c := leased(t, "guarded", true)
	c.want("done", "lease 60s")
	c.want("done", "lease 100ms")
	c.signal(syscall.SIGSTOP)
	c.isKilled()
}

func TestProcessIsKilledForNothingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		guarded   string
		connected bool
		before    []string
	}{
		"nobody is to be killed for the lease": {"unguarded", true, []string{"lease 1s"}},
		"nothing is open":                      {"guarded", false, []string{"lease 1s"}},
		"the lease goes on":                    {"guarded", true, []string{"lease 1s", "lease 60s"}},
		"what was open has been cut":           {"guarded", true, []string{"lease 1s", "cut"}},
		"the lease has no end":                 {"guarded", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := leased(t, tc.guarded, tc.connected)
			for _, command := range tc.before {
				c.want("done", "%s", command)
			}
			c.signal(syscall.SIGSTOP)
			c.outlives(beyond)
			c.signal(syscall.SIGCONT)
			c.want("done", "lease 60s")
		})
	}
}
