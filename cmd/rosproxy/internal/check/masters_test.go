package check

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery"
)

func TestMastersAreShownByWhatIsKnownOfThem(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.1:5432")
	for want, m := range map[string]discovery.Master{
		"10.0.0.1:5432 (sync-1 on n1)": {Address: at, ServiceID: "sync-1", Node: "n1"},
		"10.0.0.1:5432 (pg1)":          {Address: at, ServiceID: "pg1"},
		"10.0.0.1:5432":                {Address: at},
		"address not resolved (pg1)":   {ServiceID: "pg1"},
	} {
		if got := describeAll([]discovery.Master{m}); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestALabelWithoutAMasterIsToldWhatToCheck(t *testing.T) {
	key := &discovery.LeaderKey{Key: "pg/leader"}
	for _, tc := range []struct {
		want   string
		leader *discovery.LeaderKey
		check  discovery.LabelCheck
	}{
		{"none found; check --service and --tag", nil, discovery.LabelCheck{}},
		{`none: nobody is named by the leader key "pg/leader"; check --leader-key and --consul-datacenter, and that the cluster has a leader`, key, discovery.LabelCheck{}},
		{"none: why; check --leader-lock, and that the cluster has a leader", key,
			discovery.LabelCheck{Why: "why", Leader: &discovery.LeaderStatus{Holder: "pg1", ModifyIndex: 7}}},
		{"none: why", key, discovery.LabelCheck{Why: "why", Leader: &discovery.LeaderStatus{Holder: "pg1", ModifyIndex: 7, Locked: true}}},
	} {
		var out strings.Builder
		r := &report{out: &out}
		tc.check.Label = "pg"
		reportLabel(r, "c:8500", tc.check, tc.leader)
		if got := out.String(); !r.failed || got != "FAIL master of pg at consul c:8500: "+tc.want+"\n" {
			t.Errorf("got %q, failed %t; want %q as a failure", got, r.failed, tc.want)
		}
	}
}
