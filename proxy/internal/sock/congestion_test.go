package sock

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCongestionControlIsTheOneAskedForElseForThisHostTheOneThatDoesNotPace(t *testing.T) {
	here, here6, there := netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.0.1")
	for _, test := range []struct {
		options Options
		address netip.Addr
		want    string
	}{
		{Options{}, here, ""},
		{Options{LocalCongestion: "reno"}, here, "reno"},
		{Options{LocalCongestion: "reno"}, here6, "reno"},
		{Options{LocalCongestion: "reno"}, there, ""},
		{Options{LocalCongestion: "reno"}, netip.IPv6Unspecified(), ""},
		{Options{LocalCongestion: "reno", Congestion: "cubic"}, here, "cubic"},
		{Options{LocalCongestion: "reno", Congestion: "cubic"}, there, "cubic"},
	} {
		if got := test.options.congestionFor(test.address); got != test.want {
			t.Errorf("%+v, %v: got %q; want %q", test.options, test.address, got, test.want)
		}
	}
}

func TestCongestionControlThatTheKernelHasNotIsNamed(t *testing.T) {
	for name, want := range map[string]string{
		"reno":                  "",
		"nosuch":                "no such congestion control",
		"":                      "not 1 to 15",
		"a_name_of_16_byte":     "not 1 to 15",
		strings.Repeat("r", 64): "not 1 to 15",
	} {
		err := CheckCongestion(name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v; want %q", name, err, want)
		}
	}
}
