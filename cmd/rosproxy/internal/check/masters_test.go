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

// What to look at is the key, where a label follows one.
func TestALabelWithoutAMasterIsToldWhatToCheck(t *testing.T) {
	for want, leader := range map[string]*discovery.LeaderKey{
		"none found; check --service and --tag":                                             nil,
		"nobody is named by the leader key pg/leader; check --leader-key and --leader-lock": {Key: "pg/leader"},
	} {
		var out strings.Builder
		r := &report{out: &out}
		reportLabel(r, "c:8500", discovery.LabelCheck{Label: "pg"}, leader)
		if got := out.String(); !r.failed || got != "FAIL master of pg at consul c:8500: "+want+"\n" {
			t.Errorf("got %q, failed %t; want %q as a failure", got, r.failed, want)
		}
	}
}
