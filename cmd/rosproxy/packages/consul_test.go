package packages_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

const (
	another = "127.0.0.1:9001" // the next master

	// What a failover goes through under the unit's sandbox: Consul, the reports
	// with the timer that kills a process that stands still, a command.
	following = `drain-grace: 0s
drain-timeout: 5m
fence-report: rosproxy/fence
on-failover: 'echo "$ROSPROXY_EVENT $ROSPROXY_FROM $ROSPROXY_TO" >>/run/rosproxy/told'
listeners:
  - {label: default, listen: ":7800"}
`
)

// consul is a Consul in the machine's network.
func (s *service) consul() {
	s.t.Helper()
	binary := realconsul.Binary(s.t)
	log, err := os.Create(filepath.Join(s.t.TempDir(), "consul.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	var process *reaper.Process
	err = s.inNetwork(func() (err error) {
		process, err = reaper.Start(reaper.Command{Args: []string{binary, "agent", "-dev", "-bind=127.0.0.1"}, Log: log})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(process.Close)
	eventually(s.t, "Consul has a leader", func() bool { return strings.Contains(s.ask("127.0.0.1:8500", "GET", "/v1/status/leader", ""), ":8300") })
}

// elect registers one master, and takes away the other.
func (s *service) elect(master, deposed string) {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(master)
	body := fmt.Sprintf(`{"Name": "sync", "ID": %q, "Address": "127.0.0.1", "Port": %s, "Tags": ["role=master", "label=default"]}`, master, port)
	for _, call := range []struct{ path, body string }{{"/v1/agent/service/deregister/" + deposed, ""}, {"/v1/agent/service/register", body}} {
		s.ask("127.0.0.1:8500", "PUT", call.path, call.body)
	}
}

func TestFailoverUnderTheUnitReachesTheProcessThatDrains(t *testing.T) {
	s := installedService(t)
	s.consul()
	next, err := s.listen(another)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	go echo(next)
	s.elect(atWork, another)
	s.configure(following)
	s.start()
	s.expect("StatusText", "serving: default "+atWork)
	live := s.connect()
	s.run("systemctl", "reload", "rosproxy.service")
	live.isAlive()
	s.elect(another, atWork)
	if _, err := live.in.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection of the process that drains: got %v; want a reset by the failover", err)
	}
	s.expect("StatusText", "serving: default "+another)
	s.connect().isAlive()
	eventually(t, "the command of --on-failover was run", func() bool {
		out, _ := s.try("cat", "/run/rosproxy/told")
		return strings.Contains(out, "failover "+atWork+" "+another)
	})
	if got := s.ask("127.0.0.1:8500", "GET", "/v1/kv/rosproxy/fence?keys", ""); !strings.Contains(got, "rosproxy/fence/") {
		t.Errorf("reports: got %s; want one at least", got)
	}
	trouble := regexp.MustCompile(`"level":"(warn|error)"`)
	for line := range strings.Lines(s.journal()) {
		// Between one registration and the next there is no master.
		if trouble.MatchString(line) && !strings.Contains(line, "master lost") {
			t.Errorf("got %s; want no trouble", line)
		}
	}
}
