package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// configFile writes a configuration file and gives its path.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rosproxy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each file begins with a comment that says what its error is, behind the name
// of the file; @ stands for that.
func TestWrongFilesAreErrorsWithLineKeyAndReason(t *testing.T) {
	paths, err := filepath.Glob("testdata/invalid-*.yaml")
	if err != nil || len(paths) < 30 {
		t.Fatalf("got %d files, %v; want all of them", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			want, ok := strings.CutPrefix(first, "# want ")
			if !ok {
				t.Fatalf("got first line %q; want the error in it", first)
			}
			want = path + ":" + strings.ReplaceAll(want, "@", path)
			if _, err := parse([]string{"--config", path}, nil); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestExampleFileOfTheReadme(t *testing.T) {
	c := mustParse(t, []string{"--config=../../../../testdata/config/rosproxy.yaml"}, nil)
	pg := c.Proxy.Settings()
	pg.HoldTimeout = 30 * time.Second
	wantListeners := []proxy.Listener{
		{Label: "europe", Address: ":7800"},
		{Label: "pg", Address: ":5432", Settings: &pg},
		{Label: "cache", Address: "127.0.0.1:6379"},
	}
	if !reflect.DeepEqual(c.Proxy.Listeners, wantListeners) {
		t.Errorf("got listeners  %+v\nwant %+v", c.Proxy.Listeners, wantListeners)
	}
	wantLabels := []discovery.Label{
		{Name: "europe", Tagged: true},
		{Name: "pg", Service: "batman", Tagged: true,
			Leader: &discovery.LeaderKey{Key: "service/batman/leader", Format: discovery.PatroniFormat, Ready: discovery.ReadyAPI},
			Policy: &discovery.Policy{FenceAfter: 30 * time.Second, OnLost: discovery.CutLive}},
		{Name: "cache", Tagged: true},
	}
	if !reflect.DeepEqual(c.Discovery.Labels, wantLabels) {
		t.Errorf("got labels  %+v\nwant %+v", c.Discovery.Labels, wantLabels)
	}
	if want := map[string]string{"cache": "10.0.0.9:6379"}; !reflect.DeepEqual(c.Static, want) {
		t.Errorf("got static masters %v; want %v", c.Static, want)
	}
	if asking := c.Asking(); !reflect.DeepEqual(asking.Labels, wantLabels[:2]) || len(asking.Addresses) != 2 {
		t.Errorf("got %+v; want the first two labels asked for at two addresses", asking)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("got warnings %q; want none", c.Warnings)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := "--config=" + configFile(t, "tag: [of-file]\nhold-timeout: 3s\nhold-max: 7\nlog-connections: true\n")
	for _, c := range []struct {
		name string
		args []string
		env  []string
		tag  string
		hold time.Duration
	}{
		{"file", []string{file}, nil, "of-file", 3 * time.Second},
		{"empty variable is none", []string{file}, []string{"ROSPROXY_TAG="}, "of-file", 3 * time.Second},
		{"environment", []string{file}, []string{"ROSPROXY_TAG=of-env", "ROSPROXY_HOLD_TIMEOUT=2s"}, "of-env", 2 * time.Second},
		{"flag", []string{file, "--tag=of-flag", "--hold-timeout=1s"}, []string{"ROSPROXY_TAG=of-env", "ROSPROXY_HOLD_TIMEOUT=2s"}, "of-flag", time.Second},
	} {
		got := mustParse(t, c.args, c.env)
		if !reflect.DeepEqual(got.Discovery.Tags, []string{c.tag}) || got.Proxy.HoldTimeout != c.hold {
			t.Errorf("%s: got tags %q, hold %v; want %s, %v", c.name, got.Discovery.Tags, got.Proxy.HoldTimeout, c.tag, c.hold)
		}
		if got.Proxy.HoldMax != 7 || !got.Proxy.LogConnections || got.Proxy.ConnectTimeout != 2*time.Second {
			t.Errorf("%s: got %+v; want what only the file says, and the default", c.name, got.Proxy)
		}
	}
}

func TestFileOfTheEnvironment(t *testing.T) {
	path := configFile(t, "service: of-file\n")
	if got := mustParse(t, nil, []string{"ROSPROXY_CONFIG=" + path}).Discovery.Service; got != "of-file" {
		t.Errorf("got service %q; want that of the file", got)
	}
	other := configFile(t, "service: of-flag\n")
	if got := mustParse(t, []string{"--config", other}, []string{"ROSPROXY_CONFIG=" + path}).Discovery.Service; got != "of-flag" {
		t.Errorf("got service %q; want that of the flag's file", got)
	}
}

func TestEveryFlagIsAKeyOfTheFile(t *testing.T) {
	token := tokenFile(t, "secret\n")
	text := `
service: db
tag: [leader]
consul-addr: ["c:8500"]
consul-datacenter: [dc1, dc2]
leader-key: [pg/leader]
leader-format: patroni
leader-lock: ignored
leader-ready: catalog
on-lost: cut
lost-after: 7s
on-outage: fence
fence-after: 7s
fence-report: rosproxy/fence
fence-ttl: 7s
instance: p7
verify-every: 3s
on-conflict: refuse
on-failover: echo x
hold-timeout: 0
hold-max: 7
release-rate: 7
connect-timeout: 7s
drop: fin
accept-proxy: on
accept-proxy-from: [10.0.0.0/8]
send-proxy: v2
max-conns: 7
idle-timeout: 7s
half-close-timeout: 7s
keepalive: 7s
user-timeout: 7s
datacenter-key: app/active
remote-master: hold
socket-buffer: 65536
congestion-control: reno
shards: 7
admin-listen: unix:/run/a
admin-token-file: ` + token + `
admin-host: [proxy.example]
agent-check-listen: 127.0.0.1:7
drain-grace: 7s
drain-timeout: 7s
upgrade-timeout: 7s
log-level: debug
log-format: console
log-connections: true
`
	text += "listen: [\"a=127.0.0.1:1\", \"b=:2\"]\nstatic-master: [\"b=h:1\"]\n"
	_, s, err := parseArgs(nil, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for flag := range s.flags {
		if !strings.Contains(text, "\n"+flag+": ") && flag != "help" && flag != flagConfig {
			t.Errorf("this test has no key for --%s", flag)
		}
	}
	got := mustParse(t, []string{"--config", configFile(t, text)}, nil)
	var args []string
	for line := range strings.Lines(text) {
		key, v, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		for one := range strings.SplitSeq(strings.Trim(v, `[]`), ", ") {
			args = append(args, "--"+key+"="+strings.Trim(one, `"`))
		}
	}
	want := mustParse(t, args, nil)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant as by flags %+v", got, want)
	}
}

func TestWhatAListenerHasOfItsOwn(t *testing.T) {
	c := mustParse(t, []string{"--hold-timeout=1s", "--on-outage=fence", "--config", configFile(t, `
tag: [role=master, blue]
send-proxy: v1
listeners:
  - label: all
    listen: ":1"
    service: db
    tag: [primary, green]
    consul-datacenter: dc2
    on-outage: keep
    on-conflict: refuse
    on-lost: cut
    lost-after: 6s
    hold-timeout: 3s
    release-rate: 9
    connect-timeout: 4s
    idle-timeout: 5s
    drop: fin
    accept-proxy: on
    accept-proxy-from: [10.0.0.0/8, 192.0.2.1]
    send-proxy: v2
  - {label: none, listen: ":2"}
  - {label: some, listen: ":3", send-proxy: off, on-conflict: refuse, fence-after: 5s}
`)}, nil)
	want := proxy.Settings{
		HoldTimeout: 3 * time.Second, ReleaseRate: 9, ConnectTimeout: 4 * time.Second, IdleTimeout: 5 * time.Second, DropFIN: true,
		AcceptProxy: true, AcceptProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")},
		SendProxy: proxy.ProxyV2,
	}
	if got := c.SettingsOf(c.Proxy.Listeners[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("got settings  %+v\nwant %+v", got, want)
	}
	forAll := proxy.Settings{HoldTimeout: time.Second, ConnectTimeout: 2 * time.Second, SendProxy: proxy.ProxyV1}
	if got := c.SettingsOf(c.Proxy.Listeners[1]); !reflect.DeepEqual(got, forAll) {
		t.Errorf("got settings of one that has none  %+v\nwant %+v", got, forAll)
	}
	forAll.SendProxy = proxy.ProxyOff
	if got := c.SettingsOf(c.Proxy.Listeners[2]); !reflect.DeepEqual(got, forAll) {
		t.Errorf("got settings of one that has some  %+v\nwant %+v", got, forAll)
	}
	labels := c.Discovery.Labels
	first := c.Discovery.Of(labels[0])
	if first.Service != "db" || first.Datacenter != "dc2" || first.OnOutage != discovery.Keep || first.OnConflict != discovery.Refuse ||
		first.OnLost != discovery.CutLive || first.LostAfter != 6*time.Second {
		t.Errorf("got %+v; want what the listener says", first)
	}
	for i, want := range []string{"primary,green", "role=master,blue,label=none", "role=master,blue,label=some"} {
		if got := strings.Join(c.Discovery.TagsOf(labels[i]), ","); got != want {
			t.Errorf("%s: got tags %s; want %s", labels[i].Name, got, want)
		}
	}
	third := c.Discovery.Of(labels[2])
	if third.Service != "sync" || third.OnOutage != discovery.Fence || third.FenceAfter != 5*time.Second || third.OnConflict != discovery.Refuse || third.OnLost != discovery.KeepLive {
		t.Errorf("got %+v; want its own policy for conflicts, and else that of all", third)
	}
}

func TestListenersReplaceListen(t *testing.T) {
	path := configFile(t, "listeners:\n  - {label: a, listen: \":1\"}\n")
	for _, c := range []struct{ args, env, says string }{
		{"--listen=b=:2", "", `--listen "b=:2": `},
		{"", "ROSPROXY_LISTEN=b=:2", `--listen "b=:2" (from ROSPROXY_LISTEN): `},
	} {
		_, err := parse(strings.Fields("--config="+path+" "+c.args), []string{c.env})
		if want := c.says + path + ":1 has listeners: give one of them"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestStaticMasterOfAFlagIsForListenersThatHaveNone(t *testing.T) {
	path := configFile(t, "listeners:\n  - {label: a, listen: \":1\"}\n  - {label: b, listen: \":2\", static-master: \"h:2\"}\n")
	for args, want := range map[string]map[string]string{
		"":                      {"b": "h:2"},
		"--static-master=h:1":   {"a": "h:1", "b": "h:2"},
		"--static-master=a=h:3": {"a": "h:3", "b": "h:2"},
	} {
		if got := mustParse(t, strings.Fields("--config="+path+" "+args), nil).Static; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v; want %v", args, got, want)
		}
	}
}

func TestPeersOfAllServeListenersThatTakeHeaders(t *testing.T) {
	const text = "accept-proxy-from: [10.0.0.0/8]\nlisteners:\n  - {label: a, listen: \":1\", accept-proxy: on}\n  - {label: b, listen: \":2\"}\n"
	c := mustParse(t, []string{"--config", configFile(t, text)}, nil)
	a, b := c.SettingsOf(c.Proxy.Listeners[0]), c.SettingsOf(c.Proxy.Listeners[1])
	if !a.AcceptProxy || len(a.AcceptProxyFrom) != 1 || b.AcceptProxy || len(c.Warnings) > 0 {
		t.Errorf("got %+v, %+v, warnings %q; want the peers for a alone", a, b, c.Warnings)
	}
	c = mustParse(t, []string{"--config", configFile(t, strings.ReplaceAll(text, "accept-proxy-from: [10.0.0.0/8]\n", ""))}, nil)
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "any peer may name any source (a)") {
		t.Errorf("got warnings %q; want one about a", c.Warnings)
	}
}

func TestFourThousandListenersAndNotOneMore(t *testing.T) {
	listeners := func(n int) string {
		var b strings.Builder
		b.WriteString("listeners:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {label: l%d, listen: \"127.0.0.1:%d\"}\n", i, 1000+i)
		}
		return configFile(t, b.String())
	}
	if c := mustParse(t, []string{"--config", listeners(4096)}, nil); len(c.Proxy.Listeners) != 4096 {
		t.Errorf("got %d listeners; want 4096", len(c.Proxy.Listeners))
	}
	path := listeners(4097)
	if _, err := parse([]string{"--config", path}, nil); err == nil || err.Error() != path+":4098: listeners: more than 4096 listeners" {
		t.Errorf("got %v; want an error that names the line", err)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	big := configFile(t, strings.Repeat("# comment\n", maxFileBytes/10+1))
	for path, says := range map[string]string{
		filepath.Join(dir, "nope"): "no such file or directory",
		dir:                        "is a directory",
		big:                        "longer than 8 MiB",
	} {
		if _, err := parse([]string{"--config", path}, nil); err == nil || err.Error() != fmt.Sprintf("--config %q: %s", path, says) {
			t.Errorf("got %v; want an error that names the flag and the path and says %q", err, says)
		}
		if _, err := parse(nil, []string{"ROSPROXY_CONFIG=" + path}); err == nil || err.Error() != fmt.Sprintf("--config %q (from ROSPROXY_CONFIG): %s", path, says) {
			t.Errorf("got %v; want an error that names the variable, too", err)
		}
	}
	for _, text := range []string{"", " \n\n"} { // as one that is being written
		path := configFile(t, text)
		if _, err := parse([]string{"--config", path}, nil); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("--config %q: the file is empty", path)) {
			t.Errorf("file %q: got %v; want an error that names the flag and the path and says that it is empty", text, err)
		}
	}
	for _, empty := range []string{"# nothing\n", "---\n"} {
		if got := mustParse(t, []string{"--config", configFile(t, empty)}, nil); !reflect.DeepEqual(got, mustParse(t, nil, nil)) {
			t.Errorf("file %q: got %+v; want the defaults", empty, got)
		}
	}
}

// TestPipeIsReadOnce: a reload that read it again would take the defaults for what it held.
func TestPipeIsReadOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("hold-timeout: 7s\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	args := []string{"--config", fmt.Sprintf("/dev/fd/%d", r.Fd())}
	if got := mustParse(t, args, nil).Proxy.HoldTimeout; got != 7*time.Second {
		t.Errorf("got hold timeout %v; want 7s", got)
	}
	if _, err := parse(args, nil); err == nil || !strings.Contains(err.Error(), "a reload needs a file") {
		t.Errorf("read again: got %v; want an error", err)
	}
	mustParse(t, []string{"--config", os.DevNull}, nil) // says nothing, however often
}

// The list that one alias repeats would be of 400 million values.
func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("tag: &all [" + strings.Repeat("x, ", 100_000) + "x]\nlisteners:\n")
	for i := range 4096 {
		fmt.Fprintf(&b, "  - {label: l%d, listen: \"127.0.0.1:%d\", tag: *all}\n", i, 1000+i)
	}
	_, err := parse([]string{"--config", configFile(t, b.String())}, nil)
	if err == nil || !strings.Contains(err.Error(), "more than 262144 values in this file") {
		t.Errorf("got %v; want an error about the count", err)
	}
	c := mustParse(t, []string{"--config", configFile(t, "tag: &t [a, b]\nlisteners:\n  - &l {label: a, listen: \":1\", tag: *t}\n")}, nil)
	if got := c.Discovery.Labels[0].Tags; !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got tags %q; want those of the alias", got)
	}
}

func TestPasswordInAConsulAddressIsNotShown(t *testing.T) {
	_, err := parse([]string{"--config", configFile(t, "consul-addr: [\"http://me:secret@consul:8500\"]\n")}, nil)
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), ":1: consul-addr: ") {
		t.Errorf("got %v; want an error that names line and key, without the password", err)
	}
}

// FuzzFile feeds arbitrary files: either they make a configuration, or an error of
// one line that names the file.
func FuzzFile(f *testing.F) {
	paths, _ := filepath.Glob("testdata/invalid-*.yaml")
	for _, path := range append(paths, "../../../../testdata/config/rosproxy.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("leader-key: [a=k/leader, m]\nleader-format: patroni\nleader-lock: ignored\nleader-ready: now\non-lost: cut\nlost-after: 1s\nlisteners:\n" +
		"  - {label: a, listen: \":1\"}\n  - {label: b, listen: \":2\", leader-key: x, leader-format: address, on-lost: keep}\n  - {label: c, listen: \":3\", leader-ready: catalog}\n")
	f.Add("a: &a [*a]\n")
	f.Add("listeners: &a\n  - *a\n")
	f.Add("? [x]\n: y\n")
	_, s, err := parseArgs(nil, nil, io.Discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := s
		var err error
		if s.file, err = parseFile("f.yaml", text, s.flags); err == nil {
			var c Config
			if c, err = load(s); err == nil {
				wantSound(t, c)
				return
			}
		}
		line := OneLine(err.Error())
		if line == "" || strings.ContainsFunc(line, unicode.IsControl) || !strings.HasPrefix(line, "f.yaml:") && !strings.HasPrefix(line, "--") {
			t.Errorf("got error %q; want one line that names the file", err)
		}
	})
}
