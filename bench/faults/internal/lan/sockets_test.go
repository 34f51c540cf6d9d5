package lan

import (
	"net/netip"
	"testing"
)

// As the kernel of a little-endian machine writes them.
func TestSocketsAsTheKernelWritesThem(t *testing.T) {
	for _, c := range []struct {
		line string
		want Socket
		can  bool
	}{
		{
			"   0: 0B004E0A:D2F0 15004E0A:1E79 01 00000010:00000000 01:00000014 00000000     0        0 8123 2 0000000000000000 20 4 30 10 -1",
			Socket{netip.MustParseAddrPort("10.78.0.11:54000"), netip.MustParseAddrPort("10.78.0.21:7801"), "ESTABLISHED", 16, false}, true,
		},
		{
			"   1: 0B004E0A:D2F0 15004E0A:1E79 06 00000000:00000000 03:00000014 00000000     0        0 0 3 0000000000000000",
			Socket{netip.MustParseAddrPort("10.78.0.11:54000"), netip.MustParseAddrPort("10.78.0.21:7801"), "TIME_WAIT", 0, true}, false,
		},
		{
			"   2: 0000000000000000FFFF00000B004E0A:D2F0 0000000000000000FFFF000015004E0A:1E79 04 00000001:00000000 01:00000014 00000000     0        0 0 3 0000000000000000",
			Socket{netip.MustParseAddrPort("10.78.0.11:54000"), netip.MustParseAddrPort("10.78.0.21:7801"), "FIN_WAIT1", 1, true}, true,
		},
	} {
		got, err := parseSocket(c.line)
		if err != nil || got != c.want || got.CanCarry() != c.can {
			t.Errorf("%q: got %v, can carry %t, %v; want %v, %t", c.line, got, got.CanCarry(), err, c.want, c.can)
		}
	}
	if got, err := parseSocket("nothing"); err == nil {
		t.Errorf("a line that is too short: got %v; want an error", got)
	}
}
