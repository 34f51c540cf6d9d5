package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery"
)

func TestSeveralDataCentresAreReportedByDefault(t *testing.T) {
	got := mustParse(t, []string{"--consul-datacenter=DC1", "--consul-datacenter=dc2", "--datacenter-key=app/active", "--remote-master=hold"}, nil)
	d := got.Discovery.Of(got.Discovery.Labels[0])
	if d.Datacenter != "" || !slices.Equal(d.Datacenters, []string{"dc1", "dc2"}) || d.DatacenterKey != "app/active" || d.RemoteMaster != discovery.HoldRemote {
		t.Errorf("got %+v; want dc1 and dc2, the key and hold", d)
	}
	if d.Reports == nil || d.Reports.Prefix != "rosproxy/fence" {
		t.Errorf("got reports %+v; want them below rosproxy/fence", d.Reports)
	}
	got = mustParse(t, []string{"--fence-report=app/fence"}, []string{"ROSPROXY_CONSUL_DATACENTER=dc1,dc2"})
	if d := got.Discovery.Of(got.Discovery.Labels[0]); d.Reports.Prefix != "app/fence" || len(d.Datacenters) != 2 {
		t.Errorf("got %+v; want the prefix that was given", d)
	}
}

func TestOneDataCentreIsNotSeveral(t *testing.T) {
	got := mustParse(t, []string{"--consul-datacenter=dc1", "--remote-master=hold"}, nil)
	d := got.Discovery.Of(got.Discovery.Labels[0])
	if d.Datacenter != "dc1" || d.Datacenters != nil || d.Reports != nil {
		t.Errorf("got %+v; want dc1 asked, and nothing more", d)
	}
	if want := "--remote-master has no effect without several --consul-datacenter"; !slices.Contains(got.Warnings, want) {
		t.Errorf("got warnings %q; want %q", got.Warnings, want)
	}
}

func TestDataCentresOfAListener(t *testing.T) {
	got := mustParse(t, []string{"--config", configFile(t, `
consul-datacenter: dc9
listeners:
  - {label: both, listen: ":1", consul-datacenter: [dc1, dc2]}
  - {label: one, listen: ":2", consul-datacenter: dc3}
  - {label: all, listen: ":3"}
`)}, nil)
	for i, want := range []string{"dc1 dc2", "dc3", "dc9"} {
		d := got.Discovery.Of(got.Discovery.Labels[i])
		if at := strings.TrimSpace(d.Datacenter + " " + strings.Join(d.Datacenters, " ")); i == 0 && d.Datacenters == nil || !strings.HasSuffix(at, want) {
			t.Errorf("listener %d: got %q; want %q", i, at, want)
		}
		if (d.Reports != nil) != (i == 0) {
			t.Errorf("listener %d: got reports %+v; want them where there are several", i, d.Reports)
		}
	}
}

func TestDataCentresThatCannotBe(t *testing.T) {
	const two = "--consul-datacenter=dc1 --consul-datacenter=dc2 "
	for args, want := range map[string]string{
		"--consul-datacenter=dc1 --consul-datacenter=DC1":  `--consul-datacenter "DC1": named twice`,
		"--consul-datacenter=dc1 --consul-datacenter=dc/2": `--consul-datacenter "dc/2": not the name of a data centre`,
		two + "--datacenter-key=/a":                        `--datacenter-key "/a": the key begins with a slash`,
		two + "--datacenter-key=rosproxy/fence/active":     `--datacenter-key "rosproxy/fence/active": it lies below the fence reports`,
		two + "--leader-key=rosproxy/datacenter":           `--leader-key "rosproxy/datacenter": it is the key of the active data centre`,
		two + "--remote-master=keep":                       `--remote-master "keep"`,
		manyDatacenters():                                  "more than 16 data centres",
	} {
		_, _, err := Parse(strings.Fields(args), nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", args, err, want)
		}
	}
}

func manyDatacenters() string {
	var all strings.Builder
	for i := range maxDatacenters + 1 {
		all.WriteString(" --consul-datacenter=dc" + string(rune('a'+i)))
	}
	return all.String()
}

// TestDatacenterTakesTheVariableOfJSON where it has a document.
func TestDatacenterTakesTheVariableOfJSON(t *testing.T) {
	const two = " --consul-datacenter=dc1 --consul-datacenter=dc2"
	for args, want := range map[string]bool{"datacenter": true, "datacenter show": true, "datacenter activate DC2": false, "datacenter --json=false": false} {
		_, c, err := Parse(strings.Fields(args+two), []string{"ROSPROXY_JSON=true"}, nil)
		if err != nil || c.Client.JSON != want {
			t.Errorf("%s: got %t, %v; want %t", args, c.Client.JSON, err, want)
		}
	}
	if _, _, err := Parse(strings.Fields("datacenter"+two), []string{"ROSPROXY_JSON=perhaps"}, nil); err == nil || !strings.Contains(err.Error(), "ROSPROXY_JSON") {
		t.Errorf("got %v; want the variable named", err)
	}
}
