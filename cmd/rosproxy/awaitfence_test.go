package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

// lockedBy has a session hold the leader key, as one who was elected does, and
// gives what ends that.
func lockedBy(t *testing.T, client *api.Client, value string) (unlock func()) {
	t.Helper()
	session, _, err := client.Session().Create(&api.SessionEntry{Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond}, nil)
	if err != nil {
		t.Fatalf("begin a session: %v", err)
	}
	eventually(t, "the lock", func() bool {
		won, _, err := client.KV().Acquire(&api.KVPair{Key: leaderKey, Value: []byte(value), Session: session}, nil)
		return err == nil && won
	})
	return func() {
		if _, err := client.Session().Destroy(session, nil); err != nil {
			t.Errorf("end the session: %v", err)
		}
	}
}

// awaitFence runs await-fence as Patroni runs its pre_promote: the address of Consul
// and the token are in its environment.
func awaitFence(t *testing.T, env []string, args ...string) (code int, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, append([]string{"await-fence", "--fence-report=" + reportPrefix, "--label=default"}, args...)...)
	c.Env = append(os.Environ(), append(env, asProgram+"=1", "GORACE=exitcode=66")...)
	var out bytes.Buffer
	c.Stderr = &out
	err = c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("run await-fence: %v", exit)
	}
	return c.ProcessState.ExitCode(), out.String()
}

// TestAwaitFenceReturnsWhenNobodyCanReachTheOldMaster, whatever became of an instance meanwhile.
func TestAwaitFenceReturnsWhenNobodyCanReachTheOldMaster(t *testing.T) {
	agent := realconsul.StartDev(t)
	one, two := startWorker(t, "one"), startWorker(t, "two")
	env := []string{"CONSUL_HTTP_ADDR=" + agent.Addr}
	args := []string{"--consul-addr=" + agent.Addr, "--leader-key=" + leaderKey, "--fence-report=" + reportPrefix, "--fence-ttl=5s"}
	wantCode := func(what string, want int, args ...string) (took time.Duration) {
		t.Helper()
		began := time.Now()
		if code, stderr := awaitFence(t, env, args...); code != want {
			t.Fatalf("%s: got exit code %d after %v; want %d\n%s", what, code, time.Since(began), want, stderr)
		}
		return time.Since(began)
	}
	wantCode("nobody elected", exitFailed, "--leader-key="+leaderKey)
	unlock := lockedBy(t, agent.Client(), one.l.Addr().String())
	nobody := fmt.Sprintf("await-fence: no instance reports for the label %q below %q", "default", reportPrefix)
	if code, stderr := awaitFence(t, env, "--leader-key="+leaderKey); code != exitOK || !strings.Contains(stderr, nobody) {
		t.Errorf("nobody reports: got exit code %d, %q; want 0, and that it is said", code, stderr)
	}

	first, second := startGenerations(t, append(args, "--instance=p1")...), startGenerations(t, append(args, "--instance=p2")...)
	live, other := dialProxy(t, first.listen), dialProxy(t, second.listen)
	live.greetedBy(one)
	other.greetedBy(one)
	unlock()
	unlock = lockedBy(t, agent.Client(), two.l.Addr().String())
	if code, stderr := awaitFence(t, env, "--leader-key="+leaderKey); code != exitOK || stderr != "" {
		t.Errorf("all well: got exit code %d, %q; want 0 and not a word", code, stderr)
	}
	wantOver(t, live)
	wantOver(t, other)
	dialProxy(t, first.listen).greetedBy(two)
	stopped := dialProxy(t, second.listen)
	stopped.greetedBy(two)

	// One that stands still is waited for until it can pass on nothing more.
	second.signal(second.first, syscall.SIGSTOP)
	unlock()
	unlock = lockedBy(t, agent.Client(), one.l.Addr().String())
	defer unlock()
	if took := wantCode("one stands still", exitOK, "--leader-key="+leaderKey); took < time.Second {
		t.Errorf("returned after %v; want it to wait for the lease of the one that stands still", took)
	}
	second.signal(second.first, syscall.SIGCONT)
	wantOver(t, stopped)
	dialProxy(t, first.listen).greetedBy(one)

	// By its index, and one that nobody can have obeyed.
	code, stderr := awaitFence(t, env, "--index=999999999", "--timeout=300ms")
	for _, want := range []string{"election of index 999999999", reportPrefix + "/p1-", "of p1, pid ", "has obeyed index ", "unchanged for "} {
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("got exit code %d, %s; want 1 and %q", code, stderr, want)
		}
	}
}

// wantOver checks that nothing comes any more, not even what is asked for now.
func wantOver(t *testing.T, c *client) {
	t.Helper()
	_, _ = c.Write([]byte("late\n"))
	got, err := c.line()
	if netErr, ok := errors.AsType[net.Error](err); got != "" || err == nil || ok && netErr.Timeout() {
		t.Errorf("read: got %q, %v; want the connection's end", got, err)
	}
}

// TestAwaitFenceAsThePolicyOfATokenPermits: with real ACLs.
func TestAwaitFenceAsThePolicyOfATokenPermits(t *testing.T) {
	agent := realconsul.StartDev(t, realconsul.ACL())
	const readKey = `key "` + leaderKey + `" { policy = "read" } `
	none := agent.CreateToken(readKey)
	all := agent.CreateToken(readKey + `key_prefix "` + reportPrefix + `" { policy = "write" }`)
	one := agent.CreateToken(readKey + `key "` + reportPrefix + `/p1-7-x" { policy = "read" }`)
	unlock := lockedBy(t, agent.Client(), "127.0.0.1:1")
	defer unlock()
	pair, _, err := agent.Client().KV().Get(leaderKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"p1-7-x", "p2-7-x"} {
		e := fence.Entry{TTL: 20, Labels: map[string]fence.State{"default": {Obeyed: pair.ModifyIndex}}}
		if _, err := agent.Client().KV().Put(&api.KVPair{Key: reportPrefix + "/" + name, Value: e.Encode()}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		token string
		by    string
		code  int
		says  string
	}{
		"all rights":               {all.SecretID, "--leader-key=" + leaderKey, exitOK, ""},
		"no rights to the reports": {none.SecretID, "--leader-key=" + leaderKey, exitFailed, "left keys out"},
		"rights to one of them":    {one.SecretID, "--leader-key=" + leaderKey, exitFailed, "left keys out"},
		"no token, by the key":     {"", "--leader-key=" + leaderKey, exitFailed, "denied"},
		"no token, by the index":   {"", "--index=1", exitFailed, "default policy is deny"},
		"a token that is unknown":  {"00000000-0000-0000-0000-00000000000a", "--index=1", exitFailed, "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stderr := awaitFence(t, []string{"CONSUL_HTTP_ADDR=" + agent.Addr, "CONSUL_HTTP_TOKEN=" + c.token}, c.by)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("got exit code %d, %q; want %d, %q", code, stderr, c.code, c.says)
			}
		})
	}
}

// TestAwaitFenceOutlastsALeaderOfConsul, killed or frozen while it waits.
func TestAwaitFenceOutlastsALeaderOfConsul(t *testing.T) {
	for name, end := range map[string]func(*realconsul.Agent){"killed": (*realconsul.Agent).Kill, "frozen": (*realconsul.Agent).Freeze} {
		t.Run(name, func(t *testing.T) {
			cl := realconsul.StartCluster(t, 3)
			lockedBy(t, cl.Client.Client(), "127.0.0.1:1")
			write := func(client *api.Client, obeyed, beat uint64) error {
				e := fence.Entry{Instance: "p1", PID: 7, TTL: 60, Beat: beat, Labels: map[string]fence.State{"default": {Obeyed: obeyed}}}
				_, err := client.KV().Put(&api.KVPair{Key: reportPrefix + "/p1-7-x", Value: e.Encode()}, nil)
				return err
			}
			if err := write(cl.Client.Client(), 1, 1); err != nil {
				t.Fatal(err)
			}
			args := []string{"--leader-key=" + leaderKey}
			for _, s := range cl.Servers {
				args = append(args, "--consul-addr="+s.Addr)
			}
			leader := cl.Leader()
			type outcome struct {
				code   int
				stderr string
			}
			done := make(chan outcome, 1)
			go func() {
				code, stderr := awaitFence(t, nil, args...)
				done <- outcome{code, stderr}
			}()
			time.Sleep(time.Second) // it waits
			end(cl.Servers[leader])
			follower := cl.Servers[(leader+1)%3].Impatient()
			eventually(t, "another leader", func() bool { return write(follower, 1, 2) == nil })
			select {
			case o := <-done:
				t.Fatalf("got exit code %d while the report is behind: %s", o.code, o.stderr)
			default:
			}
			eventually(t, "the report", func() bool { return write(follower, 1<<40, 3) == nil })
			if o := <-done; o.code != exitOK {
				t.Errorf("got exit code %d; want 0\n%s", o.code, o.stderr)
			}
		})
	}
}
