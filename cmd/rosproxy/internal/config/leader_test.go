package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// leaders gives the keys that the labels follow, by label.
func leaders(c Config) map[string]discovery.LeaderKey {
	all := map[string]discovery.LeaderKey{}
	for _, l := range c.Discovery.Labels {
		if l.Leader != nil {
			all[l.Name] = *l.Leader
		}
	}
	return all
}

func TestLeaderKeyWithoutALabelServesTheListenersWithoutTheirOwnAndWithoutAStaticMaster(t *testing.T) {
	path := configFile(t, `
listeners:
  - {label: own, listen: ":1", leader-key: own/leader}
  - {label: named, listen: ":2"}
  - {label: fixed, listen: ":3", static-master: "h:1"}
  - {label: other, listen: ":4"}
`)
	c := mustParse(t, []string{"--config", path, "--leader-key=all/leader", "--leader-key=named=its/leader"}, nil)
	want := map[string]discovery.LeaderKey{"own": {Key: "own/leader"}, "named": {Key: "its/leader"}, "other": {Key: "all/leader"}}
	if got := leaders(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
	if want := map[string]string{"fixed": "h:1"}; !reflect.DeepEqual(c.Static, want) {
		t.Errorf("got static masters %v; want %v", c.Static, want)
	}
	// A static master for all leaves those alone that have a leader key of their own.
	c = mustParse(t, []string{"--config", path, "--static-master=h:2", "--leader-key=named=its/leader"}, nil)
	if want := map[string]string{"fixed": "h:1", "other": "h:2"}; !reflect.DeepEqual(c.Static, want) {
		t.Errorf("got static masters %v; want %v", c.Static, want)
	}
	delete(want, "other")
	if got := leaders(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestLeaderKeyWithAnEqualsSignNeedsItsLabel(t *testing.T) {
	c := mustParse(t, []string{"--leader-key", "default=a=b/leader"}, nil)
	if got := leaders(c)["default"].Key; got != "a=b/leader" {
		t.Errorf("got key %q; want what stands behind the first =", got)
	}
}

func TestHowALeaderKeyIsFollowed(t *testing.T) {
	for _, c := range []struct {
		args string
		want discovery.LeaderKey
	}{
		{"", discovery.LeaderKey{}},
		{"--leader-format=address --leader-lock=required --leader-ready=now", discovery.LeaderKey{}},
		{"--leader-lock=ignored", discovery.LeaderKey{LockIgnored: true}},
		{"--leader-ready=catalog", discovery.LeaderKey{Ready: discovery.ReadyCatalog}},
		{"--leader-format=patroni", discovery.LeaderKey{Format: discovery.PatroniFormat, Ready: discovery.ReadyAPI}},
		{"--leader-format=patroni --leader-ready=api", discovery.LeaderKey{Format: discovery.PatroniFormat, Ready: discovery.ReadyAPI}},
		{"--leader-format=patroni --leader-ready=now", discovery.LeaderKey{Format: discovery.PatroniFormat}},
		{"--leader-format=patroni --leader-ready=catalog", discovery.LeaderKey{Format: discovery.PatroniFormat, Ready: discovery.ReadyCatalog}},
	} {
		c.want.Key = "pg/leader"
		if got := leaders(mustParse(t, append(strings.Fields(c.args), "--leader-key=pg/leader"), nil))["default"]; got != c.want {
			t.Errorf("%s: got %+v; want %+v", c.args, got, c.want)
		}
	}
}

// From the weakest to the strongest: default, file, environment, flag, and what the listener has of its own.
func TestOwnBeatsFlagBeatsEnvironmentBeatsFileForLeaderKeys(t *testing.T) {
	path := configFile(t, `
leader-key: [b=file/leader]
leader-lock: ignored
leader-format: patroni
lost-after: 1s
listeners:
  - {label: a, listen: ":1", leader-key: own/leader, leader-format: address, leader-lock: required, on-lost: keep}
  - {label: b, listen: ":2"}
`)
	for _, c := range []struct {
		name, args, env string
		want            discovery.LeaderKey
		lostAfter       time.Duration
	}{
		{"file", "", "", discovery.LeaderKey{Key: "file/leader", Format: discovery.PatroniFormat, Ready: discovery.ReadyAPI, LockIgnored: true}, time.Second},
		{"environment", "", "ROSPROXY_LEADER_KEY=b=env/leader ROSPROXY_LEADER_LOCK=required ROSPROXY_LOST_AFTER=2s",
			discovery.LeaderKey{Key: "env/leader", Format: discovery.PatroniFormat, Ready: discovery.ReadyAPI}, 2 * time.Second},
		{"flag", "--leader-key=b=flag/leader --leader-format=address --leader-ready=catalog --lost-after=3s", "ROSPROXY_LEADER_KEY=b=env/leader ROSPROXY_LOST_AFTER=2s",
			discovery.LeaderKey{Key: "flag/leader", Ready: discovery.ReadyCatalog, LockIgnored: true}, 3 * time.Second},
	} {
		got := mustParse(t, append(strings.Fields(c.args), "--config="+path), strings.Fields(c.env))
		own := leaders(got)["a"]
		own.Ready = c.want.Ready // which is for all
		if c.want.Ready == discovery.ReadyAPI {
			own.Ready = discovery.ReadyNow // the default of addresses
		}
		if want := (discovery.LeaderKey{Key: "own/leader", Ready: own.Ready}); own != want {
			t.Errorf("%s: got %+v of its own; want %+v", c.name, own, want)
		}
		if leader := leaders(got)["b"]; leader != c.want {
			t.Errorf("%s: got %+v; want %+v", c.name, leader, c.want)
		}
		if a, b := got.Discovery.Of(got.Discovery.Labels[0]), got.Discovery.Of(got.Discovery.Labels[1]); a.OnLost != discovery.KeepLive ||
			b.OnLost != discovery.CutLive || b.LostAfter != c.lostAfter {
			t.Errorf("%s: got on-lost %v, and %v after %v; want keep, and cut after %v", c.name, a.OnLost, b.OnLost, b.LostAfter, c.lostAfter)
		}
	}
}

func TestALostMasterCutsByDefaultWhereALeaderKeyIs(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "0 after 0s, 1 after 0s",
		"--on-lost=keep":                   "0 after 0s, 0 after 0s",
		"--on-lost=cut":                    "1 after 0s, 1 after 0s",
		"--on-lost=cut --lost-after=2s":    "1 after 2s, 1 after 2s",
		"--lost-after=2s":                  "0 after 2s, 1 after 2s", // which has a meaning for the one
		"--on-lost=keep --lost-after=0s":   "0 after 0s, 0 after 0s",
		"--on-outage=fence --lost-after=0": "0 after 0s, 1 after 0s",
	} {
		c := mustParse(t, append(strings.Fields(args), "--listen=a=:1", "--listen=b=:2", "--leader-key=b=pg/leader"), nil)
		a, b := c.Discovery.Of(c.Discovery.Labels[0]), c.Discovery.Of(c.Discovery.Labels[1])
		if got := fmt.Sprintf("%d after %v, %d after %v", a.OnLost, a.LostAfter, b.OnLost, b.LostAfter); got != want {
			t.Errorf("%s: got %s; want %s", args, got, want)
		}
		if a.OnOutage != b.OnOutage || a.FenceAfter != b.FenceAfter || a.OnConflict != b.OnConflict {
			t.Errorf("%s: got policies %+v and %+v; want the rest of them the same", args, a, b)
		}
	}
}

// Labels of one service share a question, so it is those that are counted.
func TestManyQuestionsAreWarnedOf(t *testing.T) {
	listeners := func(n int, extra string) string {
		var b strings.Builder
		b.WriteString("listeners:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {label: l%d, listen: \"127.0.0.1:%d\"%s}\n", i, 1000+i, strings.ReplaceAll(extra, "N", fmt.Sprint(i)))
		}
		return configFile(t, b.String())
	}
	for _, c := range []struct {
		n     int
		extra string
		warns bool
	}{
		{1000, "", false},
		{1000, ", leader-key: pg/leader", false},
		{1000, ", static-master: \"h:1\"", false},
		{80, ", service: sN", false},
		{81, ", service: sN", true},
		{80, ", leader-key: N/leader", false},
		{81, ", leader-key: N/leader", true},
	} {
		got := mustParse(t, []string{"--config", listeners(c.n, c.extra)}, nil).Warnings
		if warns := len(got) == 1 && strings.HasPrefix(got[0], fmt.Sprintf("%d questions to Consul", c.n)); warns != c.warns || !warns && got != nil {
			t.Errorf("%d listeners%s: got warnings %q; want one: %t", c.n, c.extra, got, c.warns)
		}
	}
}

// A key of a listener that no part of the program reads would be taken silently.
func TestEveryKeyOfAListenerIsRead(t *testing.T) {
	_, s, err := parseArgs(nil, nil, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{flagStatic: true, flagLeader: true}
	for _, keys := range [][]string{keysOfDiscovery, keysOfProxy} {
		for _, key := range keys {
			read[key] = true
		}
	}
	for name, flag := range s.flags {
		if own := flag.Tag.Has(tagOfListener); own != read[name] {
			t.Errorf("%s: got a key of a listener: %t, read as one: %t", name, own, read[name])
		}
	}
}
