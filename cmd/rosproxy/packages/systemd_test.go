package packages_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestServiceStartsAndSaysWhatItServes(t *testing.T) {
	s := installedService(t)
	if got, _ := s.try("systemctl", "is-enabled", "rosproxy.service", "rosproxy.socket"); got != "disabled\ndisabled" {
		t.Errorf("after the installation: got %q; want both units disabled", got)
	}
	if got := s.show("ActiveState"); got != "inactive" {
		t.Errorf("after the installation: got %s; want inactive", got)
	}
	s.start()
	want := "serving: default " + atWork
	eventually(t, "the status line "+want, func() bool { return s.show("StatusText") == want }) // a word of its own, after READY=1
	s.connect().isAlive()
	s.expectUnprivileged(s.mainPID())
	if got := s.run("rosproxy", "status"); !strings.Contains(got, atWork) {
		t.Errorf("rosproxy status: got %s; want the master in it", got)
	}
}

// expectUnprivileged wants a user made for the service, without any capability.
func (s *service) expectUnprivileged(pid int) {
	s.t.Helper()
	status := s.run("cat", fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(status) {
		words := strings.Fields(line)
		switch words[0] {
		case "Uid:":
			var uid int
			if _, err := fmt.Sscan(words[1], &uid); err != nil || uid < 61184 || uid > 65519 {
				s.t.Errorf("got user %s; want one of those that systemd makes", words[1])
			}
		case "CapEff:", "CapPrm:", "CapBnd:":
			if strings.Trim(words[1], "0") != "" {
				s.t.Errorf("%s got %s; want none", words[0], words[1])
			}
		case "NoNewPrivs:", "Seccomp:":
			if words[1] == "0" {
				s.t.Errorf("%s got 0; want it on", words[0])
			}
		}
	}
}

func TestReloadKeepsLiveConnections(t *testing.T) {
	s := installedService(t)
	s.configure(strings.Replace(configured, "drain-timeout: 3s", "drain-timeout: 5m", 1))
	s.start()
	old := s.connect()
	for range 3 {
		before := s.mainPID()
		s.run("systemctl", "reload", "rosproxy.service")
		if after := s.mainPID(); after == before {
			t.Fatalf("got main process %d after the reload as before; want another one, and systemctl to wait for it", after)
		}
		old.isAlive()
		s.connect().isAlive()
	}
	if got := s.show("NRestarts"); got != "0" {
		t.Errorf("got %s restarts; want 0", got)
	}
}

// What is added to the file is served after a reload.
func TestReloadReadsTheFileAnew(t *testing.T) {
	s := installedService(t)
	s.start()
	s.configure(configured + "  - {label: second, listen: \":7801\", static-master: \"" + atWork + "\"}\n")
	s.run("systemctl", "reload", "rosproxy.service")
	s.expect("StatusText", "second "+atWork)
	c, err := s.dial("127.0.0.1:7801")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	s := installedService(t)
	s.start()
	live, main := s.connect(), s.mainPID()
	s.configure("listners: []\n")
	_, _ = s.try("systemctl", "reload", "rosproxy.service")
	s.expect("StatusText", "upgrade failed")
	if got := s.show("StatusText"); !strings.Contains(got, "listners") {
		t.Errorf("status line: got %q; want the key that is wrong", got)
	}
	if got := s.mainPID(); got != main || s.show("ActiveState") != "active" {
		t.Errorf("got main process %d, %s; want %d, active", got, s.show("ActiveState"), main)
	}
	live.isAlive()
	s.connect().isAlive()
	s.expectLogged("upgrade failed")
	s.configure(configured)
	s.run("systemctl", "reload", "rosproxy.service")
	s.expect("StatusText", "serving")
	live.isAlive()
}

// A process that stands still feeds no watchdog.
func TestWatchdogRestartsAProcessThatStandsStill(t *testing.T) {
	s := installedService(t)
	s.dropIn("rosproxy.service", "[Service]\nWatchdogSec=4\n")
	s.start()
	main := s.mainPID()
	time.Sleep(5 * time.Second) // longer than the watchdog: one that works is left alone
	if got := s.mainPID(); got != main {
		t.Fatalf("got main process %d; want %d still, which works", got, main)
	}
	s.signal(main, "STOP")
	s.expect("NRestarts", "1")
	s.expect("ActiveState", "active")
	if got := s.mainPID(); got == main {
		t.Errorf("got the same main process %d; want a new one", got)
	}
	s.connect().isAlive()
}

// The first client brings rosproxy about, and one that comes while it is
// restarted waits in the socket.
func TestSocketUnitStartsTheService(t *testing.T) {
	s := installedService(t)
	s.run("systemctl", "start", "rosproxy.socket")
	if got := s.show("ActiveState"); got != "inactive" {
		t.Fatalf("got %s before the first client; want inactive", got)
	}
	s.connect().isAlive()
	s.expect("ActiveState", "active") // it says that it serves when it does
	s.run("systemctl", "stop", "rosproxy.service")
	s.connect().isAlive()
	s.expect("ActiveState", "active") // one that is being started cannot be reloaded
	live := s.connect()
	s.run("systemctl", "reload", "rosproxy.service")
	live.isAlive()
	s.connect().isAlive()
}

func TestStopDrainsUntilItsDeadline(t *testing.T) {
	s := installedService(t)
	s.start()
	live := s.connect()
	ended := make(chan error, 1)
	go func() {
		_, err := live.in.ReadByte()
		ended <- err
	}()
	begun := time.Now()
	stopped := make(chan error, 1)
	go func() {
		_, err := s.try("systemctl", "stop", "rosproxy.service")
		stopped <- err
	}()
	s.expect("StatusText", "draining")
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("stopped after %v; want it to wait for the live connection until the deadline", took)
	}
	if err := <-ended; err == nil || os.IsTimeout(err) {
		t.Errorf("live connection: got %v; want its end", err)
	}
	if got := s.show("Result"); got != "success" {
		t.Errorf("got result %s; want success", got)
	}
}

// The old process, which has just handed over, is the main process once more.
func TestKilledNewProcessLeavesTheOldOneServing(t *testing.T) {
	s := installedService(t)
	s.configure(strings.Replace(configured, "drain-timeout: 3s", "drain-timeout: 5m", 1))
	s.start()
	old, live := s.mainPID(), s.connect()
	s.run("systemctl", "reload", "rosproxy.service")
	s.signal(s.mainPID(), "KILL")
	eventually(t, "the old process is the main one", func() bool { return s.mainPID() == old })
	s.expect("ActiveState", "active")
	s.expect("StatusText", "serving")
	live.isAlive()
	s.connect().isAlive()
	s.run("systemctl", "reload", "rosproxy.service")
	if got := s.mainPID(); got == old {
		t.Error("got the old main process after another reload; want a new one")
	}
	live.isAlive()
	if got := s.show("NRestarts"); got != "0" {
		t.Errorf("got %s restarts; want 0", got)
	}
}

// The unit keeps netlink from rosproxy, by which one asks for one's addresses.
func TestServiceKnowsItsOwnAddresses(t *testing.T) {
	s := installedService(t)
	const own = "10.99.0.1"
	s.ip("addr", "add", own+"/32", "dev", "lo")
	defer s.ip("addr", "del", own+"/32", "dev", "lo")
	s.configure(strings.Replace(configured, atWork, own+":7800", 1))
	s.start()
	eventually(t, "a master that is the listener itself is a loop", func() bool { return strings.Contains(s.get("/readyz"), "loop: default") })
	s.configure(strings.Replace(configured, atWork, "10.99.0.2:7800", 1))
	s.run("systemctl", "reload", "rosproxy.service")
	eventually(t, "a master on another host is none", func() bool { return strings.Contains(s.get("/readyz"), `"UP"`) })
}

func TestDropInForPrivilegedPortsWorks(t *testing.T) {
	s := installedService(t)
	file := repository + "/testdata/systemd/privileged-ports.conf"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.dropIn("rosproxy.service", string(text))
	s.configure(strings.Replace(configured, ":7800", ":80", 1))
	s.start()
	for range 2 { // a process that takes over opens none, and may add one
		c, err := s.dial("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		s.configure(strings.Replace(configured, ":7800", ":80", 1) + "  - {label: second, listen: \":81\", static-master: \"" + atWork + "\"}\n")
		s.run("systemctl", "reload", "rosproxy.service")
		s.expect("StatusText", "second "+atWork)
	}
	c, err := s.dial("127.0.0.1:81")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// When the process that has handed over is gone, the one that took over is
// systemd's own child.
func TestKilledProcessIsRestartedAfterAReload(t *testing.T) {
	s := installedService(t)
	s.start()
	old := s.mainPID()
	s.run("systemctl", "reload", "rosproxy.service")
	eventually(t, "the old process is gone", func() bool { return !s.runs(old) })
	main := s.mainPID()
	s.signal(main, "KILL")
	s.expect("NRestarts", "1")
	s.expectLogged("status=9/KILL") // systemd has noticed the end of the process itself, and not the watchdog
	s.expect("ActiveState", "active")
	s.connect().isAlive()
}

func (s *service) runs(pid int) bool {
	_, err := s.try("test", "-e", fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
