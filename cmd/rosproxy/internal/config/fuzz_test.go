package config

import (
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rosproxy/rosproxy/discovery"
)

// FuzzFlags feeds arbitrary command lines and environments, both split at
// line ends: either they make a configuration, or an error of one line.
func FuzzFlags(f *testing.F) {
	f.Add("", "")
	f.Add("--listen\na=:1\n--static-master=h:1", "ROSPROXY_HOLD_TIMEOUT=1s")
	f.Add("check\n--drop=fin\n--shards\n3", "ROSPROXY_LISTEN=a=:1,b=[::1]:2\nROSPROXY_TAG=,")
	f.Add("run\n--help", "ROSPROXY_=\nROSPROXY_X=1")
	f.Add("--admin-listen=unix:/x\n--\n-h\n--log-connections=no", "=\n==")
	f.Add("--leader-key=a=k/leader\n--leader-format=patroni\n--listen=a=:1\n--on-lost=cut\n--lost-after=1s", "ROSPROXY_LEADER_READY=catalog\nROSPROXY_LEADER_LOCK=ignored")
	f.Add("--leader-key=x", "ROSPROXY_LEADER_KEY=a=b,c\nROSPROXY_ON_LOST=keep")
	f.Add("--hold-timeout\n-1s\n--consul-addr\nunix:///x", "ROSPROXY_MAX_CONNS=9999999999999999999")
	f.Fuzz(func(t *testing.T, args, env string) {
		command, c, err := Parse(strings.Split(args, "\n"), strings.Split(env, "\n"), io.Discard)
		if err == nil && (command == Run || command == Check) {
			wantSound(t, c)
		}
		if err != nil && (OneLine(err.Error()) == "" || strings.ContainsFunc(OneLine(err.Error()), unicode.IsControl)) {
			t.Errorf("got error %q; want one line", err)
		}
	})
}

// wantSound checks what the rest of the program takes for granted.
func wantSound(t *testing.T, c Config) {
	labels := map[string]bool{}
	for i, l := range c.Proxy.Listeners {
		if l.Label == "" || labels[l.Label] || c.Discovery.Labels[i].Name != l.Label {
			t.Errorf("got label %q of %+v; want it named once, the same on both sides", l.Label, c)
		}
		labels[l.Label] = true
		label := c.Discovery.Labels[i]
		if c.Static[label.Name] != "" && (label.Service != "" || label.Tags != nil || label.Policy != nil || label.Leader != nil) {
			t.Errorf("got %+v; want nothing that is asked of Consul for a static master", label)
		}
		if k := label.Leader; k != nil && (discovery.CheckLeaderKey(k.Key, k.Format) != nil || k.Ready == discovery.ReadyAPI && k.Format != discovery.PatroniFormat) {
			t.Errorf("got leader key %+v; want one that can be followed", k)
		}
		if p := label.Policy; p != nil && (p.LostAfter < 0 || p.FenceAfter < time.Second) {
			t.Errorf("got policy %+v; want times that can be waited for", p)
		}
	}
	for label := range c.Static {
		if !labels[label] {
			t.Errorf("got a static master of %q; want it to have a listener", label)
		}
	}
	if len(labels) == 0 || c.Discovery.Service == "" || len(c.Discovery.Tags) == 0 || c.Admin.Address == "" {
		t.Errorf("got %+v; want listeners, a service, tags and an admin address", c)
	}
}
