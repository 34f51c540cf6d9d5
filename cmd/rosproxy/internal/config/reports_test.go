package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// reports says where the labels report, by label.
func reports(c Config) map[string]discovery.Reports {
	all := map[string]discovery.Reports{}
	for _, l := range c.Asking().Labels {
		if r := c.Discovery.Of(l).Reports; r != nil {
			all[l.Name] = *r
		}
	}
	return all
}

func TestNothingIsReportedByDefault(t *testing.T) {
	if got := reports(mustParse(t, nil, nil)); len(got) > 0 {
		t.Errorf("got reports %+v; want none", got)
	}
}

func TestReportsAreOfTheHostAndLastTwentySecondsByDefault(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := discovery.Reports{Prefix: "rosproxy/fence", Instance: host, TTL: 20 * time.Second}
	if got := reports(mustParse(t, []string{"--fence-report=rosproxy/fence"}, nil))["default"]; got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

// From the weakest to the strongest: file, environment, flag, and what the listener has of its own.
func TestOwnBeatsFlagBeatsEnvironmentBeatsFileForReports(t *testing.T) {
	path := configFile(t, `
fence-report: of/file
fence-ttl: 6s
instance: file
listeners:
  - {label: own, listen: ":1", fence-report: of/its/own}
  - {label: fixed, listen: ":2", static-master: "h:1"}
  - {label: other, listen: ":3"}
`)
	for _, c := range []struct {
		name, args, env string
		want            discovery.Reports
	}{
		{"file", "", "", discovery.Reports{Prefix: "of/file", Instance: "file", TTL: 6 * time.Second}},
		{"environment", "", "ROSPROXY_FENCE_REPORT=of/env ROSPROXY_FENCE_TTL=7s ROSPROXY_INSTANCE=env",
			discovery.Reports{Prefix: "of/env", Instance: "env", TTL: 7 * time.Second}},
		{"flag", "--fence-report=of/flag --fence-ttl=8s --instance=flag", "ROSPROXY_FENCE_REPORT=of/env ROSPROXY_FENCE_TTL=7s ROSPROXY_INSTANCE=env",
			discovery.Reports{Prefix: "of/flag", Instance: "flag", TTL: 8 * time.Second}},
	} {
		got := reports(mustParse(t, append(strings.Fields(c.args), "--config="+path), strings.Fields(c.env)))
		own := c.want
		own.Prefix = "of/its/own"
		if len(got) != 2 || got["other"] != c.want || got["own"] != own {
			t.Errorf("%s: got %+v; want %+v, and %+v of its own", c.name, got, c.want, own)
		}
	}
}

func TestReportsOfOneListenerAlone(t *testing.T) {
	path := configFile(t, `
fence-ttl: 6s
instance: p1
listeners:
  - {label: own, listen: ":1", fence-report: rosproxy/fence}
  - {label: other, listen: ":2"}
`)
	c := mustParse(t, []string{"--config=" + path}, nil)
	want := discovery.Reports{Prefix: "rosproxy/fence", Instance: "p1", TTL: 6 * time.Second}
	if got := reports(c); len(got) != 1 || got["own"] != want {
		t.Errorf("got %+v; want %+v of the one alone", got, want)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("got warnings %q; want none", c.Warnings)
	}
}

func TestNameOfAnInstanceThatReportsNothingIsWarnedOf(t *testing.T) {
	got := mustParse(t, nil, []string{"ROSPROXY_INSTANCE=p1"}).Warnings
	if len(got) != 1 || !strings.Contains(got[0], "--instance has no effect") {
		t.Errorf("got warnings %q; want one of --instance", got)
	}
}

func TestWhatIsWrongWithReportsIsSaid(t *testing.T) {
	for args, want := range map[string]string{
		"--fence-report=a/":    `--fence-report "a/": the prefix ends with a slash`,
		"--fence-report=a/./b": `--fence-report "a/./b": the prefix has a part that is empty, . or ..`,
		"--fence-report=" + strings.Repeat("a", discovery.MaxReportPrefix+1):               "the prefix is longer than 256 bytes",
		"--fence-report=a --fence-ttl=4s":                                                  `--fence-ttl "4s": shorter than 5s`,
		"--fence-report=a --fence-ttl=2h":                                                  `--fence-ttl "2h": longer than 1h`,
		"--fence-ttl=10s":                                                                  "--fence-ttl \"10s\": has a meaning only with --fence-report",
		"--fence-report=a --instance=x/y":                                                  `--instance "x/y": the name has a slash`,
		"--fence-report=a --instance=":                                                     `--instance "": the name is empty`,
		"--fence-report=a --instance=" + strings.Repeat("a", discovery.MaxInstance+1):      "the name is longer than 128 bytes",
		"--fence-report=a --static-master=h:1":                                             "--fence-report \"a\": has no effect: every label has a static master",
		"--fence-report=service/pg --leader-key=service/pg/leader --leader-format=patroni": "the leader key service/pg/leader of the label \"default\" lies below it",
	} {
		if _, err := parse(strings.Fields(args), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %s", args, err, want)
		}
	}
	mustParse(t, []string{"--fence-report=service/pg", "--leader-key=service/pg2/leader"}, nil)
}

// TestLabelsOfOneReportFitInOneKey: Consul would refuse the report when all of them have joined it.
func TestLabelsOfOneReportFitInOneKey(t *testing.T) {
	listeners := func(length int, own string) (args []string) {
		args = []string{"--fence-report=a"}
		for i := range maxListens {
			args = append(args, fmt.Sprintf("--listen=%0*d=127.0.0.1:%d", length, i, 1024+i))
		}
		return append(args, own)
	}
	if c := mustParse(t, listeners(40, "--fence-ttl=10s"), nil); len(c.Discovery.Labels) != maxListens {
		t.Errorf("got %d labels; want %d", len(c.Discovery.Labels), maxListens)
	}
	const want = `--fence-report "a": a report of its 4096 labels may take `
	if _, err := parse(listeners(70, "--fence-ttl=10s"), nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v; want %s", err, want)
	}
}
