package config

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/operator"
)

func TestElectionOfAwaitFence(t *testing.T) {
	for _, c := range []struct {
		args, env string
		want      operator.Election
	}{
		{"--fence-report=a/b --label=pg --leader-key=service/pg/leader", "", operator.Election{Prefix: "a/b", Label: "pg", LeaderKey: "service/pg/leader"}},
		{"--fence-report=a --label=pg --index=9 --timeout=3s --consul-addr=h:1 --consul-addr=h:2 --consul-datacenter=dc2", "",
			operator.Election{Prefix: "a", Label: "pg", Index: 9, Timeout: 3 * time.Second, Addresses: []string{"h:1", "h:2"}, Datacenter: "dc2"}},
		// What an instance on this host is told by variables holds here too, but for what is of one call.
		{"--label=pg --index=9", "ROSPROXY_FENCE_REPORT=a ROSPROXY_CONSUL_ADDR=h:1 ROSPROXY_LEADER_KEY=default=k ROSPROXY_LABEL=other ROSPROXY_TIMEOUT=x",
			operator.Election{Prefix: "a", Label: "pg", Index: 9, Addresses: []string{"h:1"}}},
	} {
		command, got, err := Parse(append([]string{"await-fence"}, strings.Fields(c.args)...), strings.Fields(c.env), io.Discard)
		if err != nil || command != AwaitFence || !reflect.DeepEqual(got.Client.Election, c.want) {
			t.Errorf("%s %s: got %s, %+v, %v; want %+v", c.env, c.args, command, got.Client.Election, err, c.want)
		}
	}
}

func TestWhatIsWrongWithAwaitFenceIsSaid(t *testing.T) {
	const all = "--fence-report=a --label=pg --index=1 "
	for args, want := range map[string]string{
		"--label=pg --index=1":                        "--fence-report: missing",
		"--fence-report=a --index=1":                  "--label: missing",
		"--fence-report=a --label=pg":                 "--leader-key, --index: missing",
		"--fence-report=a --label=pg --index=0":       `--index "0": less than 1`,
		"--fence-report=a --label=pg --index=-1":      `--index "-1": less than 1`,
		"--fence-report=a --label=pg --index=x":       `--index "x": not a whole number`,
		"--fence-report=a/ --label=pg --index=1":      `--fence-report "a/": the prefix ends with a slash`,
		"--fence-report=a --label=a,b --index=1":      `--label "a,b": the label has`,
		"--fence-report=a --label=pg --leader-key=/k": `--leader-key "/k": the key begins with a slash`,
		all + "--leader-key=k":                        `--index "1": beside --leader-key`,
		all + "--label=other":                         `--label "other": given twice`,
		all + "--timeout=0":                           `--timeout "0": shorter than 1ms`,
		all + "--timeout=10":                          `--timeout "10": not a duration`,
		all + "--consul-addr=u:p@":                    "--consul-addr: ",
		all + "--consul-datacenter=":                  `--consul-datacenter "": not the name of a data centre`,
		all + "--admin=h:1":                           "unknown flag --admin",
	} {
		_, _, err := Parse(append([]string{"await-fence"}, strings.Fields(args)...), nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: got %v; want %s", args, err, want)
		}
	}
}
