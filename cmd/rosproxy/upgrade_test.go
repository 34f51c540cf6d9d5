package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func TestTenUpgradesInARowFailNoRequestAndTouchNoStream(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	short := startTraffic(t, g.listen, 4)
	var streams []*client
	pids := []int{g.first}
	for n := range 10 {
		live := dialProxy(t, g.listen)
		live.greetedBy(one)
		streams = append(streams, live)
		short.awaitMore(t)
		pids = append(pids, g.upgrade(pids[n]))
		s, err := g.statusAt(g.admin)
		if err != nil || s.PID != pids[n+1] || s.Generation != n+2 {
			t.Fatalf("after upgrade %d: got pid %d, generation %d, %v; want %d, %d", n+1, s.PID, s.Generation, err, pids[n+1], n+2)
		}
	}
	for n, pid := range pids[:10] { // all of them drain, at once, each with a stream
		s := g.awaitOwnStatus(pid)
		if s.PID != pid || s.Generation != n+1 || s.State != "draining" {
			t.Errorf("generation %d: got pid %d, generation %d, state %s; want %d draining", n+1, s.PID, s.Generation, s.State, pid)
		}
		streams[n].isAlive()
	}
	short.awaitMore(t)
	short.end(t)
	for n, live := range streams {
		live.isAlive()
		live.Close()
		g.awaitGone(pids[n])
		if _, err := os.Stat(g.own(pids[n])); !os.IsNotExist(err) {
			t.Errorf("socket of generation %d: got %v; want it removed", n+1, err)
		}
	}
	g.awaitStatus("the last generation", func(s api.Status) bool { return s.PID == pids[10] && s.State == "serving" })
}

func TestOldGenerationObeysFailoversToItsLastConnection(t *testing.T) {
	consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
	g := startGenerations(t, "--consul-addr="+consul.Addr)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	next := g.upgrade(g.first)
	newer := dialProxy(t, g.listen)
	newer.greetedBy(one)
	last := g.upgrade(next)
	live.isAlive()
	newer.isAlive()
	consul.SetTags("one", asSlave, inGroup)
	consul.SetTags("two", asMaster, inGroup)
	live.isReset()
	newer.isReset()
	g.awaitGone(g.first)
	g.awaitGone(next)
	// Each generation learns of the failover for itself.
	g.awaitStatus("the last generation at the new master", func(s api.Status) bool {
		return s.PID == last && s.Labels[0].Failovers == 1
	})
	dialProxy(t, g.listen).greetedBy(two)
}

func TestFailoverDuringAnUpgradeCutsTheOldConnections(t *testing.T) {
	consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
	g := startGenerations(t, "--consul-addr="+consul.Addr)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.keepAs(".real")
	g.replace("while [ ! -e " + g.dir + `/go ]; do sleep 0.05; done; exec "$0.real" "$@"`)
	g.signal(g.first, syscall.SIGUSR2)
	g.awaitLine("upgrade started")
	consul.SetTags("one", asSlave, inGroup)
	consul.SetTags("two", asMaster, inGroup)
	live.isReset()
	if err := os.WriteFile(g.dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.awaitLine("took over from the old process")
	dialProxy(t, g.listen).greetedBy(two)
	g.awaitGone(g.first)
}

// keepAs gives the program a second name, which a script can call.
func (g *generations) keepAs(suffix string) {
	g.t.Helper()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, g.path+suffix)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func TestProgramThatCannotTakeOverChangesNothing(t *testing.T) {
	for name, c := range map[string]struct{ script, says, ended string }{
		"exits at once":    {"exit 3", "await the new process", "exit status 3"},
		"never gets ready": {"exec sleep 1000", "not ready within --upgrade-timeout 300ms", "signal: killed"},
		"no program":       {"", "permission denied", ""},
		"says nonsense":    {"printf boo >&3; exec sleep 1000", "the successor said", "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			one := startWorker(t, "one")
			g := startGenerations(t, "--static-master="+one.l.Addr().String(), "--upgrade-timeout=300ms")
			live := dialProxy(t, g.listen)
			live.greetedBy(one)
			short := startTraffic(t, g.listen, 2)
			short.awaitMore(t)
			g.replace(c.script)
			if c.script == "" {
				if err := os.Chmod(g.path, 0); err != nil {
					t.Fatal(err)
				}
			}
			g.signal(g.first, syscall.SIGUSR2)
			line := g.awaitLine("upgrade failed, going on as before")
			if reason, _ := line["error"].(string); !strings.Contains(reason, c.says) || line["ended"] != c.ended {
				t.Errorf("got error %q, ended %q; want %q, %q", reason, line["ended"], c.says, c.ended)
			}
			short.awaitMore(t)
			short.end(t)
			live.isAlive()
			g.awaitStatus("the old one", func(s api.Status) bool { return s.PID == g.first && s.State == "serving" })
		})
	}
}

func TestProgramThatDiesWhenToldToTakeOverChangesNothing(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	short := startTraffic(t, g.listen, 2)
	g.replace("printf r >&3; exec head -c 1 <&3 >/dev/null") // ready, reads the word, and ends
	g.signal(g.first, syscall.SIGUSR2)
	g.awaitLine("upgrade failed, going on as before")
	short.awaitMore(t)
	short.end(t)
	g.awaitStatus("the old one", func(s api.Status) bool { return s.PID == g.first && s.State == "serving" })
}

func TestFailedUpgradesLeakNothing(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	g.keepAs(".real")
	g.replace("exit 1")
	fail := func(n int) {
		g.signal(g.first, syscall.SIGUSR2)
		g.awaitLines("upgrade failed, going on as before", n)
	}
	fail(1) // Go's own descriptors (its poller, pidfd) are open from here on
	before := g.descriptors(g.first)
	for n := range 10 {
		fail(n + 2)
	}
	g.await("the descriptors of before", func() bool { return g.descriptors(g.first) <= before })
	g.replace(`exec "$0.real" "$@"`)
	g.upgrade(g.first) // and it can still be done
}

// stuckUpgrade starts an upgrade to a program that cannot become ready, since
// it has no answer from Consul, and gives its pid.
func stuckUpgrade(t *testing.T) (g *generations, one *worker, consul *consultest.Server, release func(), pid int) {
	consul, one = startConsul(t), startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	g = startGenerations(t, "--consul-addr="+consul.Addr, "--upgrade-timeout=10m")
	if err := request(g.listen); err != nil {
		t.Fatal(err)
	}
	release = consul.Inject(consultest.Status(http.StatusInternalServerError, "No cluster leader"))
	t.Cleanup(release)
	g.signal(g.first, syscall.SIGUSR2)
	pid = int(g.awaitLine("upgrade started")["pid"].(float64))
	g.awaitLines("starting", 2)
	g.awaitLines("listener opened", 3) // the first one's two, and that which the new one was given
	return g, one, consul, release, pid
}

func TestNewProcessWaitsForAnAnswerOfConsul(t *testing.T) {
	g, one, _, release, pid := stuckUpgrade(t)
	dialProxy(t, g.listen).greetedBy(one)
	if s, err := g.statusAt(g.admin); err != nil || s.PID != g.first {
		t.Errorf("got pid %d, %v; want the old process %d to answer", s.PID, err, g.first)
	}
	release()
	g.awaitLine("took over from the old process")
	g.awaitStatus("the new one", func(s api.Status) bool { return s.PID == pid })
	dialProxy(t, g.listen).greetedBy(one)
}

func TestSecondUpgradeWhileOneIsUnderWayIsRefused(t *testing.T) {
	g, _, _, release, pid := stuckUpgrade(t)
	g.signal(g.first, syscall.SIGUSR2)
	if line := g.awaitLine("upgrade refused"); line["error"] != "another one is under way" {
		t.Errorf("got %q; want that another one is under way", line["error"])
	}
	g.signal(pid, syscall.SIGUSR2) // to one that does not serve yet
	g.awaitLines("upgrade refused", 2)
	release()
	g.awaitLine("took over from the old process")
	if n := len(g.lines("upgrade started")); n != 1 {
		t.Errorf("got %d upgrades; want 1", n)
	}
}

func TestUpgradeWhileDrainingIsRefused(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.signal(g.first, syscall.SIGTERM)
	g.awaitLine("drain started")
	g.signal(g.first, syscall.SIGUSR2)
	if line := g.awaitLine("upgrade refused"); line["error"] != "the process is draining" {
		t.Errorf("got %q; want that it is draining", line["error"])
	}
	live.isAlive()
	live.Close()
	g.awaitGone(g.first)
}

func TestKilledDuringAnUpgradeLeavesTheSocketsToTheNewProcess(t *testing.T) {
	g, one, _, release, pid := stuckUpgrade(t)
	g.signal(g.first, syscall.SIGKILL)
	_ = g.cmd.Wait()
	held := dialProxy(t, g.listen) // the new one takes over though it knows no master yet
	g.awaitStatus("the new one", func(s api.Status) bool { return s.PID == pid && s.State == "serving" })
	release()
	held.greetedBy(one)
}

func TestTerminatedDuringAnUpgradeEndsTheNewProcessAndDrains(t *testing.T) {
	g, one, _, _, pid := stuckUpgrade(t)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.signal(g.first, syscall.SIGTERM)
	g.awaitLine("drain started")
	g.await("the end of the new process", func() bool { return !g.isOurs(pid) })
	if line := g.awaitLine("upgrade failed, going on as before"); line["ended"] != "signal: killed" {
		t.Errorf("got ended %q; want it killed", line["ended"])
	}
	live.isAlive()
	live.Close()
	g.awaitGone(g.first)
}

func TestNewProcessThatIsTerminatedBeforeItsTurnEnds(t *testing.T) {
	g, one, _, _, pid := stuckUpgrade(t)
	g.signal(pid, syscall.SIGTERM)
	if line := g.awaitLine("upgrade failed, going on as before"); line["ended"] != "exit status 0" {
		t.Errorf("got ended %q; want exit status 0", line["ended"])
	}
	dialProxy(t, g.listen).greetedBy(one)
	g.awaitStatus("the old one", func(s api.Status) bool { return s.PID == g.first && s.State == "serving" })
}

func TestOldGenerationHasASocketOfItsOwn(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.upgrade(g.first)
	s := g.awaitOwnStatus(g.first)
	if s.PID != g.first || s.Generation != 1 || s.State != "draining" || s.Labels[0].Active != 1 {
		t.Errorf("got %+v; want pid %d, generation 1, draining with one connection", s, g.first)
	}
	info, err := os.Stat(g.own(g.first))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info, err)
	}
	live.Close()
	g.awaitGone(g.first)
	if _, err := os.Stat(g.admin); err != nil {
		t.Errorf("shared admin socket: got %v; want it there", err)
	}
}

func TestSocketOfAKilledGenerationIsRemovedByTheNext(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	next := g.upgrade(g.first)
	g.awaitOwnStatus(g.first)
	g.signal(g.first, syscall.SIGKILL)
	_ = g.cmd.Wait()
	if _, err := os.Stat(g.own(g.first)); err != nil {
		t.Fatalf("got %v; want the socket of the killed process still there", err)
	}
	g.upgrade(next)
	if _, err := os.Stat(g.own(g.first)); !os.IsNotExist(err) {
		t.Errorf("got %v; want the socket removed", err)
	}
}

func TestLastGenerationRemovesTheAdminSocket(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	next := g.upgrade(g.first)
	g.awaitGone(g.first)
	g.signal(next, syscall.SIGTERM)
	g.awaitGone(next)
	if _, err := os.Stat(g.admin); !os.IsNotExist(err) {
		t.Errorf("got %v; want the admin socket removed", err)
	}
}
