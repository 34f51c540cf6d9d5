package config

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
)

func TestClientCommandsKnowOnlyTheirOwnFlags(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{"status --listen :1", "unknown flag --listen"},
		{"drain --drain-grace 1s", "unknown flag --drain-grace"},
		{"status --wait", "unknown flag --wait"},
		{"undrain --grace 1s", "unknown flag --grace"},
		{"run --admin 127.0.0.1:1", "unknown flag --admin"},
		{"--json", "unknown flag --json"},
		{"check --wait", "unknown flag --wait"},
		{"--listen :1 status", "status: its flags come after it, and it has none of run's"},
		{"status other", "unexpected argument other"},
		{"status --admin", "--admin: needs a value"},
		{"status --admin --json", `--admin: expected string value but got "--json"`},
		{"status --admin 127.0.0.1", `--admin "127.0.0.1": neither HOST:PORT (an IPv6 address goes in brackets) nor unix:PATH`},
		{"status --admin /run/rosproxy.sock", `--admin "/run/rosproxy.sock": neither HOST:PORT`},
		{"pause europe", "unexpected argument europe: a label goes behind --label, COMMAND behind --"},
		{"pause --label a true", "unexpected argument true: a label"},
		{"pause --label a --", "--: COMMAND is missing behind it"},
		{"datacenter actviate dc1", `datacenter: must be one of "show","activate" but got "actviate"`},
		{"--version other", "unexpected argument other"},
		{"status --admin 127.0.0.1:0", `--admin "127.0.0.1:0": nobody listens on port 0`},
		{"status --admin unix:", `--admin "unix:": the path is empty`},
		{"status --admin a:1 --admin b:1 --admin a:1", `--admin "a:1": given twice`},
		{"status --admin-token-file /nowhere", `--admin-token-file "/nowhere": `},
		{"connections --label a,b", `--label "a,b": the label has`},
		{"connections --limit 0", `--limit "0": less than 1`},
		{"drain --grace 5", `--grace "5": not a duration such as 500ms, 10s or 5m`},
		{"drain --timeout -1s", `--timeout "-1s": negative`},
		{"pause --for 500ms", `--for "500ms": shorter than 1s`},
		{"pause --for 11m", `--for "11m": longer than 10m0s`},
		{"pause --wait x", `--wait "x": not a duration`},
		{"pause --settle -1s", `--settle "-1s": negative`},
		{"pause --label a,b", `--label "a,b": the label has`},
		{"pause --label a --label b", `--label "b": given twice`},
		{"resume --label a --label a", `--label "a": given twice`},
		{"connections --limit 1 --limit 2", `--limit "2": given twice`},
		{"resume --for 1s", "unknown flag --for"},
		{"resume -- true", "unexpected argument true"},
		{"drain --timeout 721h", `--timeout "721h": longer than 720h0m0s`},
	} {
		_, _, err := Parse(strings.Fields(c.line), nil, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: got %v; want %s", c.line, err, c.says)
		}
	}
}

func TestClientFlagsReachTheCommand(t *testing.T) {
	token := tokenFile(t, "secret\n")
	local := []Endpoint{{"tcp", "127.0.0.1:7802"}}
	two, zero := 2*time.Second, time.Duration(0)
	for _, c := range []struct {
		line, env string
		command   Command
		want      Client
	}{
		{"status", "", Status, Client{Admin: local}},
		{"undrain --json", "", Undrain, Client{Admin: local, JSON: true}},
		{"status --admin [::1]:1 --admin unix:/run/a", "ROSPROXY_ADMIN=b:2", Status, Client{Admin: []Endpoint{{"tcp", "[::1]:1"}, {"unix", "/run/a"}}}},
		{"status", "ROSPROXY_ADMIN=b:2, unix:/run/a", Status, Client{Admin: []Endpoint{{"tcp", "b:2"}, {"unix", "/run/a"}}}},
		{"status", "ROSPROXY_ADMIN=", Status, Client{Admin: local}},
		{"status", "ROSPROXY_ADMIN_TOKEN_FILE=" + token, Status, Client{Admin: local, TokenFile: token}},
		{"status", "ROSPROXY_JSON=true", Status, Client{Admin: local, JSON: true}},
		{"connections --label a --limit 7", "", Connections, Client{Admin: local, Connections: ConnectionsQuery{"a", 7}}},
		{"pause", "", Pause, Client{Admin: local, Pause: PauseRequest{"", 30 * time.Second, 10 * time.Second, 5 * time.Second, false, nil}}},
		{"pause --label pg --for 1m --wait 0s --settle 0s --close-quiet -- patronictl --force -- x", "ROSPROXY_WAIT=1s", Pause,
			Client{Admin: local, Pause: PauseRequest{"pg", time.Minute, 0, 0, true, []string{"patronictl", "--force", "--", "x"}}}},
		{"resume --label pg", "", Resume, Client{Admin: local, Pause: PauseRequest{Label: "pg"}}},
		// A command of --on-failover has such variables for something else.
		{"connections", "ROSPROXY_LABEL=a", Connections, Client{Admin: local}},
		{"drain", "ROSPROXY_GRACE=1s", Drain, Client{Admin: local}},
		{"drain --grace 0s --timeout 2s --exit --wait", "", Drain, Client{Admin: local, Drain: DrainRequest{&zero, &two, true, true}}},
	} {
		command, got, err := Parse(strings.Fields(c.line), []string{c.env}, io.Discard)
		if err != nil || command != c.command || !reflect.DeepEqual(got, Config{Client: c.want}) {
			t.Errorf("%s, %s: got %s %+v, %v; want %+v", c.line, c.env, command, got.Client, err, c.want)
		}
	}
}

func TestClientCommandsHaveHelpOfTheirOwn(t *testing.T) {
	var all strings.Builder
	if _, _, err := Parse([]string{"--help"}, nil, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range clientCommands {
		for _, args := range [][]string{{string(c.name), "--help"}, {"help", string(c.name)}, {"--help", string(c.name)}} {
			var out strings.Builder
			command, _, err := Parse(args, nil, &out)
			if err != nil || command != Help || !strings.Contains(out.String(), "Usage: rosproxy "+string(c.name)+" ") || strings.Contains(out.String(), "--hold-timeout") {
				t.Errorf("%q: got %s, %v, %s; want the help of %s alone", args, command, err, out.String(), c.name)
			}
		}
		if !strings.Contains(all.String(), "\n  "+string(c.name)+" ") {
			t.Errorf("--help: got no %s in\n%s", c.name, all.String())
		}
	}
}

func TestDefaultInstanceIsWhereRunListens(t *testing.T) {
	listens := mustParse(t, nil, nil).Admin.Endpoint
	if got := mustParse(t, []string{"status"}, nil).Client.Admin; len(got) != 1 || got[0] != listens {
		t.Errorf("got %v; want %v", got, listens)
	}
}

func TestVariablesOfClientCommandsAreNoTyposOfRun(t *testing.T) {
	env := []string{"ROSPROXY_ADMIN=127.0.0.1:1", "ROSPROXY_JSON=true", "ROSPROXY_LABEL=a"}
	if got, want := mustParse(t, nil, env).Warnings, []string{"ROSPROXY_LABEL is set, but there is no such flag"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestVariablesOfAHookAreNoTyposOfWhatItRuns(t *testing.T) {
	var env []string
	for _, name := range hook.Variables() {
		env = append(env, name+"=failover")
	}
	if got := mustParse(t, nil, env).Warnings; len(got) != 0 {
		t.Errorf("got the warnings %q; want none", got)
	}
}
