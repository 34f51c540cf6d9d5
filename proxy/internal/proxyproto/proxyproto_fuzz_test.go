package proxyproto

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	pires "github.com/pires/go-proxyproto"
)

// FuzzHeader feeds what a stranger may send, in two pieces and whole: never
// more is taken than the header, what is taken is the same either way and
// whatever comes after it, and every error has a reason.
func FuzzHeader(f *testing.F) {
	for _, b := range fixtures(f) {
		f.Add(b, 5)
		f.Add(append(bytes.Clone(b), "payload"...), len(b)-1)
	}
	f.Add([]byte("PROXY UNKNOWN\rx\r\n"), 14)
	f.Add([]byte("PROXY TCP4 10.0.0.01 10.0.0.2 -1 65536\r\n"), 3)
	f.Add(v2(0, 0xff, "\x03\x00\x04xxxx"), 16)
	f.Add(v2(1, 0x10, block4), 12)
	f.Add(withChecksum(v2(1, 0x11, block4, sum)), 20)
	f.Add(v2(1, 0x11, block4, "\x04\x0f\xf2", strings.Repeat("x", 4082)), 100)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		b = b[:min(len(b), LongestHeader)] // a shard looks at no more
		size, o, err := read(b)
		switch {
		case err != nil && err.Error() == "":
			t.Fatal("an error without a reason")
		case size < 0 || size > len(b) || size > LongestHeader:
			t.Fatalf("took %d of %d bytes", size, len(b))
		case size == 0 && err == nil && len(b) == LongestHeader:
			t.Fatal("wants more than the bound")
		case o != nil && (!o.Source.IsValid() || !o.Destination.IsValid() || o.Source.Addr().Is4In6() || o.Source.Addr().Zone() != ""):
			t.Fatalf("took %+v out of %q", o, b)
		}
		whole, wholeErr := Delimit(b)
		at = min(max(at, 0), len(b))
		switch part, partErr := Delimit(b[:at]); {
		case partErr != nil && (wholeErr == nil || partErr.Error() != wholeErr.Error()):
			t.Fatalf("%q: got %v; want %v, as for the whole", b[:at], partErr, wholeErr)
		case part != 0 && part != whole:
			t.Fatalf("%q: got %d bytes; want %d, as for the whole", b[:at], part, whole)
		case part == 0 && partErr == nil && wholeErr == nil && whole != 0 && at >= whole:
			t.Fatalf("%q: waits for more than the %d bytes of the header", b[:at], whole)
		}
		if err == nil && size > 0 {
			if again, same, err := read(b[:size]); again != size || err != nil || meaning(same) != meaning(o) {
				t.Fatalf("without what follows: got %d, %q, %v; want %d, %q", again, meaning(same), err, size, meaning(o))
			}
		}
	})
}

// FuzzHeaderRoundTrip writes headers and reads them back.
func FuzzHeaderRoundTrip(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, uint16(80), uint16(8080), "default", []byte("payload"))
	f.Add(bytes.Repeat([]byte{0x20}, 16), []byte{10, 0, 0, 2}, uint16(0), uint16(65535), "", []byte{})
	f.Fuzz(func(t *testing.T, from, to []byte, fromPort, toPort uint16, label string, payload []byte) {
		source, ok := netip.AddrFromSlice(from)
		destination, ok2 := netip.AddrFromSlice(to)
		if !ok || !ok2 || len(label) > LongestLabel {
			return
		}
		want := Origin{netip.AddrPortFrom(source.Unmap(), fromPort), netip.AddrPortFrom(destination.Unmap(), toPort)}
		tlvs := []pires.TLV{{Type: pires.PP2_TYPE_UNIQUE_ID, Value: []byte("1")}, {Type: TLVLabel, Value: []byte(label)}}
		for _, version := range []Version{V1, V2} {
			b, err := Encode(version, want, tlvs...)
			if err != nil {
				t.Fatal(err)
			}
			size, o, err := read(slices.Concat(b, payload))
			if err != nil || size != len(b) || o == nil || *o != want {
				t.Fatalf("version %d: wrote %q, got %d bytes, %+v, %v; want %d, %+v", version, b, size, o, err, len(b), want)
			}
		}
	})
}
