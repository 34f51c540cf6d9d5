package config

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

func parse(args, env []string) (Config, error) {
	_, c, err := Parse(args, env, io.Discard)
	return c, err
}

func mustParse(t *testing.T, args, env []string) Config {
	t.Helper()
	c, err := parse(args, env)
	if err != nil {
		t.Fatalf("parse %q %q: %v", args, env, err)
	}
	return c
}

func TestVersionAndHelpAreCommandsAndFlags(t *testing.T) {
	for _, c := range []struct {
		arg     string
		want    Command
		printed string
	}{{"version", Version, ""}, {"--version", Version, ""}, {"help", Help, "--listen"}, {"--help", Help, "--listen"}} {
		var out strings.Builder
		got, _, err := Parse([]string{c.arg}, nil, &out)
		if err != nil || got != c.want || !strings.Contains(out.String(), c.printed) {
			t.Errorf("%s: got %q, %v, printed %q; want %q, printed %q", c.arg, got, err, out.String(), c.want, c.printed)
		}
	}
}

func TestDefaultsAreTheContracts(t *testing.T) {
	got := mustParse(t, nil, nil)
	want := Config{
		Proxy: proxy.Config{
			Listeners:        []proxy.Listener{{Label: "default", Address: ":7800"}},
			HoldTimeout:      10 * time.Second,
			HoldMax:          16384,
			ConnectTimeout:   2 * time.Second,
			HalfCloseTimeout: time.Minute,
			KeepAlive:        time.Minute,
			UserTimeout:      30 * time.Second,
		},
		Discovery: discovery.Config{
			Service:     "sync",
			Tags:        []string{"role=master"},
			Labels:      []discovery.Label{{Name: "default", Tagged: true}},
			OnOutage:    discovery.Keep,
			FenceAfter:  30 * time.Second,
			OnConflict:  discovery.Newest,
			VerifyEvery: 1500 * time.Millisecond,

			DatacenterKey: "rosproxy/datacenter",
		},
		Drain:          drain.Config{Grace: 5 * time.Second, Timeout: 5 * time.Minute},
		UpgradeTimeout: 30 * time.Second,
		Admin:          Admin{Endpoint: Endpoint{Network: "tcp", Address: "127.0.0.1:7802"}},
		Log:            Log{Level: zerolog.InfoLevel},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEveryFlagReachesTheConfigFromBothSides(t *testing.T) {
	token := tokenFile(t, "secret\n")
	for _, c := range []struct {
		flag, text string
		read       func(Config) any
		want       any
	}{
		{"listen", "a=127.0.0.1:1", func(c Config) any { return c.Proxy.Listeners }, []proxy.Listener{{Label: "a", Address: "127.0.0.1:1"}}},
		{"service", "db", func(c Config) any { return c.Discovery.Service }, "db"},
		{"tag", "leader", func(c Config) any { return c.Discovery.Tags }, []string{"leader"}},
		{"consul-addr", "c:8500", func(c Config) any { return c.Discovery.Addresses }, []string{"c:8500"}},
		{"consul-datacenter", "dc2", func(c Config) any { return c.Discovery.Datacenter }, "dc2"},
		{"leader-key", "pg/leader", func(c Config) any { return *c.Discovery.Labels[0].Leader }, discovery.LeaderKey{Key: "pg/leader"}},
		{"on-lost", "cut", func(c Config) any { return c.Discovery.OnLost }, discovery.CutLive},
		{"static-master", "h:1", func(c Config) any { return c.Static }, map[string]string{"default": "h:1"}},
		{"on-outage", "fence", func(c Config) any { return c.Discovery.OnOutage }, discovery.Fence},
		{"fence-after", "7s", func(c Config) any { return c.Discovery.FenceAfter }, 7 * time.Second},
		{"verify-every", "3s", func(c Config) any { return c.Discovery.VerifyEvery }, 3 * time.Second},
		{"on-failover", "mail x, y", func(c Config) any { return c.OnFailover }, "mail x, y"},
		{"on-conflict", "refuse", func(c Config) any { return c.Discovery.OnConflict }, discovery.Refuse},
		{"hold-timeout", "0", func(c Config) any { return c.Proxy.HoldTimeout }, time.Duration(0)},
		{"hold-max", "7", func(c Config) any { return c.Proxy.HoldMax }, 7},
		{"release-rate", "7", func(c Config) any { return c.Proxy.ReleaseRate }, 7},
		{"connect-timeout", "7s", func(c Config) any { return c.Proxy.ConnectTimeout }, 7 * time.Second},
		{"drop", "fin", func(c Config) any { return c.Proxy.DropFIN }, true},
		{"max-conns", "7", func(c Config) any { return c.Proxy.MaxConns }, 7},
		{"idle-timeout", "7s", func(c Config) any { return c.Proxy.IdleTimeout }, 7 * time.Second},
		{"half-close-timeout", "7s", func(c Config) any { return c.Proxy.HalfCloseTimeout }, 7 * time.Second},
		{"keepalive", "7s", func(c Config) any { return c.Proxy.KeepAlive }, 7 * time.Second},
		{"user-timeout", "7s", func(c Config) any { return c.Proxy.UserTimeout }, 7 * time.Second},
		{"socket-buffer", "65536", func(c Config) any { return c.Proxy.SocketBuffer }, 65536},
		{"congestion-control", "reno", func(c Config) any { return c.Proxy.Congestion }, "reno"},
		{"shards", "7", func(c Config) any { return c.Proxy.Shards }, 7},
		{"accept-proxy", "on", func(c Config) any { return c.Proxy.AcceptProxy }, true},
		{"send-proxy", "v2", func(c Config) any { return c.Proxy.SendProxy }, proxy.ProxyV2},
		{"admin-listen", "unix:/run/a", func(c Config) any { return c.Admin.Address }, "/run/a"},
		{"admin-token-file", token, func(c Config) any { return c.Admin.TokenFile }, token},
		{"admin-host", "proxy.example", func(c Config) any { return c.Admin.Hosts }, []string{"proxy.example"}},
		{"agent-check-listen", "127.0.0.1:7", func(c Config) any { return c.AgentCheck }, Endpoint{"tcp", "127.0.0.1:7"}},
		{"drain-grace", "7s", func(c Config) any { return c.Drain.Grace }, 7 * time.Second},
		{"drain-timeout", "7s", func(c Config) any { return c.Drain.Timeout }, 7 * time.Second},
		{"log-level", "debug", func(c Config) any { return c.Log.Level }, zerolog.DebugLevel},
		{"log-format", "console", func(c Config) any { return c.Log.Format }, "console"},
		{"log-connections", "true", func(c Config) any { return c.Proxy.LogConnections }, true},
	} {
		t.Run(c.flag, func(t *testing.T) {
			for from, config := range map[string]Config{
				"command line": mustParse(t, []string{"--" + c.flag + "=" + c.text}, nil),
				"environment":  mustParse(t, nil, []string{envName(c.flag) + "=" + c.text}),
			} {
				if got := c.read(config); !reflect.DeepEqual(got, c.want) {
					t.Errorf("from the %s: got %v; want %v", from, got, c.want)
				}
			}
		})
	}
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  []string
		want []string
	}{
		{"default", nil, nil, []string{"role=master"}},
		{"empty variable is none", nil, []string{"ROSPROXY_TAG="}, []string{"role=master"}},
		{"environment replaces the default", nil, []string{"ROSPROXY_TAG=a, b"}, []string{"a", "b"}},
		{"flag replaces both", []string{"--tag", "c", "--tag=d"}, []string{"ROSPROXY_TAG=a,b"}, []string{"c", "d"}},
		{"commas and backslashes in a flag stay", []string{"--tag", `c,d\,e\\`, "--tag=f,"}, nil, []string{`c,d\,e\\`, "f,"}},
	} {
		if got := mustParse(t, c.args, c.env).Discovery.Tags; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q; want %q", c.name, got, c.want)
		}
	}
}

func TestFaultNamesFlagValueAndReason(t *testing.T) {
	empty := tokenFile(t, "\n")
	long := tokenFile(t, strings.Repeat("x", maxToken+1))
	for _, c := range []struct {
		args string
		says string
	}{
		{"--listen=7800", `--listen "7800": not HOST:PORT`},
		{"--listen=::1:7800", `--listen "::1:7800": not HOST:PORT`},
		{"--listen=:http", `--listen ":http": the port is no number`},
		{"--listen=:65536", `--listen ":65536": the port is no number`},
		{"--listen=:-1", `--listen ":-1": the port is no number`},
		{"--listen==:7800", `--listen "=:7800": the label is empty`},
		{"--listen=a\x01b=:1", `--listen "a\x01b=:1": the label has a character`},
		{"--listen=a\nb=:1", `--listen "a\nb=:1": the label has a character`},
		{"--listen=a,b=:1", `--listen "a,b=:1": the label has a character`},
		{"--listen=\xff=:1", "the label has a character"},
		{"--listen=" + strings.Repeat("a", 129) + "=:1", "the label is longer than 128 bytes"},
		{"--listen=a b:1", `--listen "a b:1": the host is neither`},
		{"--listen=1.2.3:1", `--listen "1.2.3:1": the host is neither`},
		{"--listen=a=:1 --listen=a=:2", `--listen "a=:2": the label "a" has a listener already`},
		{"--listen=a=:1 --listen=A=:2", `--listen "A=:2": the label "A" has a listener already`},
		{"--listen=:1 --listen=default=:2", `--listen "default=:2": the label "default" has a listener already`},
		{"--listen=a=:1 --listen=b=:1", `--listen "b=:1": cannot be open beside :1, on which another listener is`},
		{"--listen=a=:1 --listen=b=127.0.0.1:1", `--listen "b=127.0.0.1:1": cannot be open beside :1`},
		{"--listen=a=[::1]:1 --listen=b=[::]:1", `--listen "b=[::]:1": cannot be open beside [::1]:1`},
		{"--service=", `--service "": not the name`},
		{"--service=a/b", `--service "a/b": not the name`},
		{"--tag=", `--tag "": not a tag`},
		{"--tag=a\tb", `--tag "a\tb": not a tag`},
		{"--consul-addr=", `--consul-addr "": not an address`},
		{"--consul-addr=a\x00b", `--consul-addr "a\x00b": not an address`},
		{"--consul-datacenter=", `--consul-datacenter "": not the name`},
		{"--static-master=:1", `--static-master ":1": a master needs a host and a port`},
		{"--static-master=h:0", `--static-master "h:0": a master needs a host and a port`},
		{"--static-master=h", `--static-master "h": not HOST:PORT`},
		{"--static-master=x=h:1", `--static-master "x=h:1": no listener has the label "x"`},
		{"--static-master=h:1 --static-master=h:2", `--static-master "h:2": a second master without a label`},
		{"--static-master=default=h:1 --static-master=default=h:2", `--static-master "default=h:2": the label "default" has a master already`},
		{"--leader-key=", `--leader-key "": the key is empty`},
		{"--leader-key==a", `--leader-key "=a": the label is empty`},
		{"--leader-key=default=", `--leader-key "default=": the key is empty`},
		{"--leader-key=/a/leader", `--leader-key "/a/leader": the key begins with a slash`},
		{"--leader-key=a/../b", `--leader-key "a/../b": the key has a part that is empty, . or ..`},
		{"--leader-key=a\nb", `--leader-key "a\nb": the key has a character that does not print`},
		{"--leader-key=a\xffb", "the key has a character that does not print"},
		{"--leader-key=" + strings.Repeat("k", 513), "the key is longer than 512 bytes"},
		{"--leader-key=a --leader-format=patroni", `--leader-key "a": the key has no slash: the members of Patroni stand beside it`},
		{"--leader-key=x=a", `--leader-key "x=a": no listener has the label "x"`},
		{"--leader-key=a --leader-key=b", `--leader-key "b": a second leader key without a label`},
		{"--leader-key=default=a --leader-key=default=b", `--leader-key "default=b": the label "default" has a leader key already`},
		{"--leader-key=default=a --static-master=default=h:1", `--leader-key "default=a": the label "default" has a static master, h:1`},
		{"--leader-key=a --static-master=h:1", `--leader-key "a": has no effect: every label has a leader key or a static master`},
		{"--leader-key=default=a --static-master=h:1", `--static-master "h:1": has no effect: every label has a leader key or a static master`},
		{"--leader-format=etcd", `--leader-format "etcd": not one of patroni, address`},
		{"--leader-format=address", `--leader-format "address": has a meaning only with --leader-key, and no label has one`},
		{"--leader-lock=ignored", `--leader-lock "ignored": has a meaning only with --leader-key`},
		{"--leader-ready=now", `--leader-ready "now": has a meaning only with --leader-key`},
		{"--leader-key=a --leader-ready=api", `--leader-ready "api": only a member of Patroni has a REST API: --leader-format of the label "default" is not patroni`},
		{"--on-lost=fence", `--on-lost "fence": not one of keep, cut`},
		{"--on-lost=keep --static-master=h:1", `--on-lost "keep": has no effect: every label has a static master`},
		{"--lost-after=1s", `--lost-after "1s": has a meaning only with --on-lost cut`},
		{"--lost-after=1s --on-lost=keep --leader-key=a", `--lost-after "1s": has a meaning only with --on-lost cut`},
		{"--lost-after=721h --on-lost=cut", `--lost-after "721h": longer than`},
		{"--on-outage=drop", `--on-outage "drop": not one of keep, fence`},
		{"--on-failover=", `--on-failover "": empty`},
		{"--on-failover=a\x00b", `--on-failover "a\x00b": has a NUL`},
		{"--on-failover=" + strings.Repeat("x", 128<<10), "longer than 131071 bytes"},
		{"--on-conflict=oldest", `--on-conflict "oldest": not one of newest, refuse`},
		{"--fence-after=999ms", `--fence-after "999ms": shorter than 1s`},
		{"--fence-after=0", `--fence-after "0": shorter than 1s`},
		{"--verify-every=0", `--verify-every "0": shorter than 100ms`},
		{"--fence-after=x", `--fence-after "x": not a duration`},
		{"--hold-timeout=10", `--hold-timeout "10": not a duration`},
		{"--hold-timeout=-1s", `--hold-timeout "-1s": negative`},
		{"--hold-timeout=25h", `--hold-timeout "25h": longer than 24h0m0s`},
		{"--connect-timeout=0", `--connect-timeout "0": shorter than 1ms`},
		{"--keepalive=10h", `--keepalive "10h": longer than`},
		{"--user-timeout=25h", `--user-timeout "25h": longer than`},
		{"--idle-timeout=9999999h", `--idle-timeout "9999999h": not a duration`},
		{"--half-close-timeout=", `--half-close-timeout "": not a duration`},
		{"--hold-max=0", `--hold-max "0": less than 1`},
		{"--hold-max=1e3", `--hold-max "1e3": not a whole number`},
		{"--socket-buffer=4095", `--socket-buffer "4095": less than 4096`},
		{"--socket-buffer=-1", `--socket-buffer "-1": less than 4096`},
		{"--socket-buffer=64k", `--socket-buffer "64k": not a whole number`},
		{"--socket-buffer=1073741825", `--socket-buffer "1073741825": more than 1073741824`},
		{"--congestion-control=", `--congestion-control "": not a name of 1 to 15`},
		{"--congestion-control=longer_than_any_is", `--congestion-control "longer_than_any_is": not a name of 1 to 15`},
		{"--congestion-control=re no", `--congestion-control "re no": not a name of 1 to 15`},
		{"--release-rate=-1", `--release-rate "-1": less than 0`},
		{"--release-rate=1000001", `--release-rate "1000001": more than 1000000`},
		{"--release-rate=10/s", `--release-rate "10/s": not a whole number`},
		{"--max-conns=-1", `--max-conns "-1": less than 1`},
		{"--max-conns=99999999999999999999", `--max-conns "99999999999999999999": not a whole number`},
		{"--shards=1025", `--shards "1025": more than 1024`},
		{"--drop=both", `--drop "both": not one of rst, fin`},
		{"--accept-proxy=yes", `--accept-proxy "yes": not one of off, on`},
		{"--accept-proxy-from=10.0.0.0/8", `--accept-proxy-from "10.0.0.0/8": has a meaning only with --accept-proxy on`},
		{"--accept-proxy-from=10.0.0.0/33", `--accept-proxy-from "10.0.0.0/33": not a CIDR`},
		{"--send-proxy=v3", `--send-proxy "v3": not one of off, v1, v2`},
		{"--accept-proxy-from=fe80::1%eth0", `--accept-proxy-from "fe80::1%eth0": not a CIDR`},
		{"--accept-proxy-from=::ffff:10.0.0.0/90", `--accept-proxy-from "::ffff:10.0.0.0/90": a prefix of IPv4 in IPv6 is at least 96 bits long`},
		{"--admin-listen=:7802", `--admin-listen ":7802": neither loopback nor a unix socket: needs --admin-token-file`},
		{"--admin-listen=0.0.0.0:7802", `--admin-listen "0.0.0.0:7802": neither loopback`},
		{"--admin-listen=[::]:7802", `--admin-listen "[::]:7802": neither loopback`},
		{"--admin-listen=admin.example:7802", `--admin-listen "admin.example:7802": neither loopback`},
		{"--admin-listen=7802", `--admin-listen "7802": neither HOST:PORT`},
		{"--admin-listen=unix:", `--admin-listen "unix:": the path is empty`},
		{"--admin-listen=unix:@a", `--admin-listen "unix:@a": an abstract socket`},
		{"--admin-listen=unix:/" + strings.Repeat("x", 107), "the path is longer than 107 bytes"},
		{"--listen=127.0.0.1:1 --admin-listen=127.0.0.1:1", `--admin-listen "127.0.0.1:1": cannot be open beside 127.0.0.1:1, the address of the listener "default"`},
		{"--listen=a=:7802", `--admin-listen "127.0.0.1:7802": cannot be open beside :7802, the address of the listener "a"`},
		{"--agent-check-listen=:7802", `--agent-check-listen ":7802": cannot be open beside 127.0.0.1:7802, the address of --admin-listen`},
		{"--admin-host=a:1", `--admin-host "a:1": not a host name`},
		{"--admin-host=", `--admin-host "": not a host name`},
		{"--agent-check-listen=", `--agent-check-listen "": neither HOST:PORT`},
		{"--agent-check-listen=7803", `--agent-check-listen "7803": neither HOST:PORT`},
		{"--agent-check-listen=unix:@a", `--agent-check-listen "unix:@a": an abstract socket`},
		{"--agent-check-listen=127.0.0.1:7802", `--agent-check-listen "127.0.0.1:7802": cannot be open beside 127.0.0.1:7802, the address of --admin-listen`},
		{"--admin-listen=unix:/a --agent-check-listen=unix:/a", `--agent-check-listen "unix:/a": cannot be open beside unix:/a, the address of --admin-listen`},
		{"--listen=a=:1 --agent-check-listen=:1", `--agent-check-listen ":1": cannot be open beside :1, the address of the listener "a"`},
		{"--admin-token-file=/does/not/exist", `--admin-token-file "/does/not/exist": no such file or directory`},
		{"--admin-token-file=/dev/zero", `--admin-token-file "/dev/zero": not a regular file`},
		{"--admin-token-file=" + t.TempDir(), "not a regular file"},
		{"--admin-token-file=" + tokenFile(t, "two words"), "the file holds more than one word"},
		{"--admin-token-file=" + empty, "the file is empty"},
		{"--admin-token-file=" + long, "the token is longer than 4096 bytes"},
		{"--drain-grace=-1s", `--drain-grace "-1s": negative`},
		{"--drain-timeout=721h", `--drain-timeout "721h": longer than`},
		{"--log-level=loud", `--log-level "loud": not one of trace, debug, info, warn, error`},
		{"--log-format=xml", `--log-format "xml": not one of json, console`},
		{"--log-connections=maybe", `--log-connections: bool value must be`},
		{"--no-such-flag", "unknown flag --no-such-flag"},
		{"--drop", `--drop "": not one of`},
		{"--service=x --service --tag", `--service "--tag": needs a value, and this is a flag`},
		{"serve", "unexpected argument serve"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Split(c.args, " --")
			for i := 1; i < len(args); i++ {
				args[i] = "--" + args[i]
			}
			_, err := parse(args, nil)
			if err == nil {
				t.Fatal("got no error; want one")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q; want it to say %q", err, c.says)
			}
		})
	}
}

func TestFaultNamesTheVariable(t *testing.T) {
	for _, c := range []struct{ env, says string }{
		{"ROSPROXY_HOLD_TIMEOUT=abc", `--hold-timeout "abc" (from ROSPROXY_HOLD_TIMEOUT): not a duration such as 500ms, 10s or 5m`},
		{"ROSPROXY_LISTEN=a=:1,b", `--listen "b" (from ROSPROXY_LISTEN): not HOST:PORT`},
		{"ROSPROXY_TAG=a,,b", `--tag "" (from ROSPROXY_TAG): not a tag`},
		{"ROSPROXY_LOG_CONNECTIONS=maybe", `--log-connections "maybe" (from ROSPROXY_LOG_CONNECTIONS): neither true nor false`},
		{"ROSPROXY_LEADER_KEY=default=a,default=b", `--leader-key "default=b" (from ROSPROXY_LEADER_KEY): the label "default" has a leader key already`},
		{"ROSPROXY_LEADER_LOCK=ignored", `--leader-lock "ignored" (from ROSPROXY_LEADER_LOCK): has a meaning only with --leader-key`},
		{"ROSPROXY_LOST_AFTER=1s", `--lost-after "1s" (from ROSPROXY_LOST_AFTER): has a meaning only with --on-lost cut`},
		{"ROSPROXY_SEND_PROXY=v3", `--send-proxy "v3" (from ROSPROXY_SEND_PROXY): not one of off, v1, v2`},
	} {
		if _, err := parse(nil, []string{c.env}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v; want it to say %q", c.env, err, c.says)
		}
	}
}

func TestListenerWithoutALabelIsNamedDefaultAndNeedsNoLabelTag(t *testing.T) {
	c := mustParse(t, []string{"--listen", "127.0.0.1:1", "--listen", "b=127.0.0.1:2"}, nil)
	want := []discovery.Label{{Name: "default"}, {Name: "b", Tagged: true}}
	if !reflect.DeepEqual(c.Discovery.Labels, want) {
		t.Errorf("got %+v; want %+v", c.Discovery.Labels, want)
	}
	if got := c.Proxy.Listeners[0].Label; got != "default" {
		t.Errorf("got %q; want default", got)
	}
}

func TestStaticMasterWithoutALabelServesTheListenersWithoutTheirOwn(t *testing.T) {
	c := mustParse(t, []string{"--listen=a=:1", "--listen=b=:2", "--static-master=h:9", "--static-master=b=[::1]:8"}, nil)
	want := map[string]string{"a": "h:9", "b": "[::1]:8"}
	if !reflect.DeepEqual(c.Static, want) {
		t.Errorf("got %v; want %v", c.Static, want)
	}
}

func TestAdminListenerThatOthersReachNeedsAToken(t *testing.T) {
	token := tokenFile(t, "secret")
	c := mustParse(t, []string{"--admin-listen=0.0.0.0:7802", "--admin-token-file", token}, nil)
	if c.Admin.TokenFile != token {
		t.Errorf("got token file %q; want %q", c.Admin.TokenFile, token)
	}
	for _, local := range []string{"127.0.0.2:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1", "unix:/x"} {
		mustParse(t, []string{"--admin-listen", local}, nil)
	}
}

func TestOddConfigurationsAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		args, env []string
		says      string
	}{
		{nil, []string{"ROSPROXY_HOLD_TIMOUT=1s"}, "ROSPROXY_HOLD_TIMOUT"},
		{[]string{"--drain-grace=1m", "--drain-timeout=1s"}, nil, "--drain-grace 1m0s"},
		{[]string{"--static-master=h:1", "--consul-addr=c:1"}, nil, "--consul-addr"},
		{[]string{"--fence-after=7s"}, nil, "--fence-after has no effect without --on-outage fence"},
		{[]string{"--static-master=h:1", "--fence-after=7s"}, nil, "--fence-after has no effect: every label has a static master"},
		{[]string{"--static-master=h:1", "--on-outage=fence"}, nil, "--on-outage has no effect: every label has a static master"},
		{[]string{"--static-master=h:1"}, []string{"ROSPROXY_ON_CONFLICT=refuse"}, "--on-conflict has no effect: every label has a static master"},
		{[]string{"--accept-proxy=on", "--accept-proxy-from=10.0.0.1/8"}, nil, "--accept-proxy-from 10.0.0.1/8 stands for all of 10.0.0.0/8"},
		{[]string{"--accept-proxy=on"}, nil, "any peer may name any source"},
	} {
		got := mustParse(t, c.args, c.env).Warnings
		if len(got) != 1 || !strings.Contains(got[0], c.says) {
			t.Errorf("%q %q: got %q; want one warning of %s", c.args, c.env, got, c.says)
		}
	}
	kubernetes := []string{"ROSPROXY_SERVICE_HOST=10.0.0.1", "ROSPROXY_PORT=tcp://10.0.0.1:7800", "ROSPROXY_PORT_7800_TCP_ADDR=10.0.0.1"}
	if got := mustParse(t, nil, kubernetes).Warnings; got != nil {
		t.Errorf("got %q; want no warning of the variables of Kubernetes", got)
	}
}

// tokenFile writes a token file.
func tokenFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
