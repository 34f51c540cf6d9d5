package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pires "github.com/pires/go-proxyproto"
)

// fixtures are the headers of real senders, by name.
func fixtures(tb testing.TB) map[string][]byte {
	tb.Helper()
	names, err := filepath.Glob("../../../testdata/proxyproto/*.bin")
	if err != nil || len(names) == 0 {
		tb.Fatalf("fixtures: got %d, %v; want some", len(names), err)
	}
	found := make(map[string][]byte)
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			tb.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(n), ".bin")] = b
	}
	return found
}

// meanings is what each fixture says, "source destination"; empty: of nobody.
var meanings = map[string]string{
	"haproxy-v1-check":                 "127.0.0.1:37160 127.0.0.1:23118",
	"haproxy-v1-tcp4":                  "127.0.0.1:43156 127.0.0.1:23100",
	"haproxy-v1-tcp6":                  "[::1]:47896 [::1]:23102",
	"haproxy-v1-unknown":               "",
	"haproxy-v2-check":                 "",
	"haproxy-v2-check-crc32c":          "",
	"haproxy-v2-tcp4":                  "127.0.0.1:35754 127.0.0.1:23106",
	"haproxy-v2-tcp4-crc32c-unique-id": "127.0.0.1:38676 127.0.0.1:23112",
	"haproxy-v2-tcp4-ssl":              "127.0.0.1:60160 127.0.0.1:23116",
	"haproxy-v2-tcp6":                  "[::1]:53244 [::1]:23108",
	"haproxy-v2-tcp6-crc32c":           "[::1]:53868 [::1]:23114",
	"haproxy-v2-unix":                  "",
	"nginx-v1-dual-stack":              "127.0.0.1:48532 127.0.0.1:23125",
	"nginx-v1-tcp4":                    "127.0.0.1:50168 127.0.0.1:23121",
	"nginx-v1-tcp6":                    "[::1]:48464 [::1]:23123",
	"nginx-v1-unknown":                 "",
}

func meaning(o *Origin) string {
	if o == nil {
		return ""
	}
	return o.Source.String() + " " + o.Destination.String()
}

// read does to b what a shard does to a socket.
func read(b []byte) (size int, o *Origin, err error) {
	if size, err = Delimit(b); err != nil || size == 0 {
		return size, nil, err
	}
	o, err = Decode(b[:size])
	return size, o, err
}

func TestHeadersOfHAProxyAndNginxAreUnderstood(t *testing.T) {
	found := fixtures(t)
	for name, b := range found {
		want, known := meanings[name]
		if !known {
			t.Errorf("%s has no meaning in this test", name)
		}
		size, o, err := read(b)
		if err != nil || size != len(b) || meaning(o) != want {
			t.Errorf("%s: got %d bytes, %q, %v; want %d, %q", name, size, meaning(o), err, len(b), want)
		}
	}
	for name := range meanings {
		if found[name] == nil {
			t.Errorf("no fixture %s", name)
		}
	}
}

func TestHeaderIsDelimitedByteByByteAndBeforeAPayload(t *testing.T) {
	for name, b := range fixtures(t) {
		for n := range len(b) {
			if size, err := Delimit(b[:n]); size != 0 || err != nil {
				t.Errorf("%s, the first %d of %d bytes: got %d, %v; want to wait for more", name, n, len(b), size, err)
			}
		}
		for _, payload := range []string{"x", "\r\n", "PROXY TCP4 ", "\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c", strings.Repeat("\x00", 5000)} {
			if size, err := Delimit(append(bytes.Clone(b), payload...)); size != len(b) || err != nil {
				t.Errorf("%s before %.12q: got %d, %v; want %d", name, payload, size, err, len(b))
			}
		}
	}
}

// v2 builds a header of version 2 out of its parts.
func v2(command, family byte, after ...string) []byte {
	body := strings.Join(after, "")
	b := append([]byte{}, signatureV2...)
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// withChecksum puts the checksum into the last four bytes of b.
func withChecksum(b []byte) []byte {
	at := len(b) - 4
	clear(b[at:])
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, castagnoli))
	return b
}

const (
	block4 = "\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x1f\x90" // 10.0.0.1:80 to 10.0.0.2:8080
	sum    = "\x03\x00\x04\x00\x00\x00\x00"
)

var (
	block6   = strings.Repeat("\x20", 32) + "\x00\x50\x1f\x90"
	blockMix = strings.Repeat("\x00", 10) + "\xff\xff\x0a\x00\x00\x01" + strings.Repeat("\x20", 16) + "\x00\x50\x1f\x90"
	blockUn  = "/run/a" + strings.Repeat("\x00", 210)
)

func TestHeadersAreTakenAsTheSpecificationHasThem(t *testing.T) {
	const ten = "10.0.0.1:80 10.0.0.2:8080"
	for _, c := range []struct {
		name   string
		header []byte
		want   string
	}{
		{"longest line", []byte("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), ""},
		{"UNKNOWN with anything", []byte("PROXY UNKNOWN  any\x00thing \xff TCP4\r\n"), ""},
		{"UNKNOWN with an empty rest", []byte("PROXY UNKNOWN \r\n"), ""},
		{"version 1, ports at their bounds", []byte("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), "0.0.0.0:0 255.255.255.255:65535"},
		{"version 1, IPv6 in capitals and at length", []byte("PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::2 1 2\r\n"), "[2001:db8::1]:1 [::2]:2"},
		{"version 1, IPv4 in IPv6", []byte("PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 80 8080\r\n"), ten},
		{"TCP over IPv4", v2(1, 0x11, block4), ten},
		{"TCP over IPv6", v2(1, 0x21, block6), "[2020:2020:2020:2020:2020:2020:2020:2020]:80 [2020:2020:2020:2020:2020:2020:2020:2020]:8080"},
		{"IPv4 and IPv6 mixed", v2(1, 0x21, blockMix), "10.0.0.1:80 [2020:2020:2020:2020:2020:2020:2020:2020]:8080"},
		{"LOCAL with nothing", v2(0, 0x00), ""},
		{"LOCAL with an address", v2(0, 0x11, block4), ""},
		{"LOCAL with half an address", v2(0, 0x21, block4), ""},
		{"LOCAL of no known family", v2(0, 0xff, "anything"), ""},
		{"LOCAL with a checksum", withChecksum(v2(0, 0x11, block4, sum)), ""},
		{"UNSPEC", v2(1, 0x00), ""},
		{"UNSPEC with anything", v2(1, 0x00, "\x03anything"), ""},
		{"IPv4 of no transport", v2(1, 0x10, block4), ""},
		{"STREAM of no family", v2(1, 0x01), ""},
		{"UDP", v2(1, 0x12, block4), ""},
		{"UDP over IPv6", v2(1, 0x22, block6), ""},
		{"UNIX stream", v2(1, 0x31, blockUn), ""},
		{"UNIX datagram", v2(1, 0x32, blockUn), ""},
		{"TLVs that nobody knows, empty ones, padding", v2(1, 0x11, block4, "\xe5\x00\x01x\x01\x00\x00\x04\x00\x02ab\xff\x00\x00"), ten},
		{"a checksum", withChecksum(v2(1, 0x11, block4, "\x05\x00\x01x", sum)), ten},
		{"the longest of all", v2(1, 0x11, block4, "\x04\x0f\xf1", strings.Repeat("x", 4081)), ten},
	} {
		size, o, err := read(c.header)
		if err != nil || size != len(c.header) || meaning(o) != c.want {
			t.Errorf("%s: got %d bytes, %q, %v; want %d, %q", c.name, size, meaning(o), err, len(c.header), c.want)
		}
	}
}

func TestWrongHeadersAreRefusedWithTheReason(t *testing.T) {
	damaged := withChecksum(v2(1, 0x11, block4, sum))
	damaged[17] ^= 1
	damagedLocal := withChecksum(v2(0, 0x00, sum))
	damagedLocal[22] ^= 1
	for _, c := range []struct {
		name   string
		header []byte
		says   string
	}{
		{"no header", []byte("GET / HTTP/1.1\r\n"), "no PROXY protocol header"},
		{"another word", []byte("PROXYTCP4"), "no PROXY protocol header"},
		{"small letters", []byte("proxy "), "no PROXY protocol header"},
		{"nearly version 2", []byte("\r\n\r\n\x00\r\nQUIT\r"), "no PROXY protocol header"},
		{"version 3", append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x31), "version 3"},
		{"version 1 of the binary form", append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x11), "version 1 after"},
		{"LF alone", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n"), "does not end in CRLF"},
		{"CR alone", []byte("PROXY UNKNOWN\rx\r\n"), "does not end in CRLF"},
		{"a line without end", []byte("PROXY UNKNOWN" + strings.Repeat(" ", 94)), "no CRLF in the first 107"},
		{"a line that ends too late", []byte("PROXY UNKNOWN" + strings.Repeat(" ", 93) + "\r\n"), "no CRLF in the first 107"},
		{"nothing", []byte("PROXY \r\n"), "version 1"},
		{"no such protocol", []byte("PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n"), "version 1"},
		{"UNKNOWN and more in one word", []byte("PROXY UNKNOWNS\r\n"), "version 1"},
		{"a field too few", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n"), "version 1"},
		{"a field too many", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n"), "version 1"},
		{"two spaces", []byte("PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n"), "version 1"},
		{"a space at the end", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2 \r\n"), "version 1"},
		{"a name", []byte("PROXY TCP4 localhost 10.0.0.2 1 2\r\n"), "version 1"},
		{"a zero in front", []byte("PROXY TCP4 10.0.0.01 10.0.0.2 1 2\r\n"), "version 1"},
		{"a zone", []byte("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), "version 1"},
		{"IPv6 in TCP4", []byte("PROXY TCP4 ::1 ::1 1 2\r\n"), `"::1" is no address of TCP4`},
		{"mapped IPv4 in TCP4", []byte("PROXY TCP4 ::ffff:10.0.0.1 10.0.0.2 1 2\r\n"), "is no address of TCP4"},
		{"IPv4 in TCP6", []byte("PROXY TCP6 ::1 10.0.0.2 1 2\r\n"), `"10.0.0.2" is no address of TCP6`},
		{"a port too high", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 65536\r\n"), `"65536" is no port`},
		{"a negative port", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 -1 2\r\n"), `"-1" is no port`},
		{"a port with a sign", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n"), `"+1" is no port`},
		{"a port with a zero in front", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 02\r\n"), `"02" is no port`},
		{"no port", []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 \r\n"), "version 1"},
		{"too long", v2(1, 0x11, block4, "\x04\x0f\xf2", strings.Repeat("x", 4082)), "4097 bytes after"},
		{"too long, as soon as that is known", append(v2(1, 0x11)[:14], 0xff, 0xff), "65535 bytes after"},
		{"no such command", v2(2, 0x11, block4), "no such command: 2"},
		{"no such family", v2(1, 0x41, block4), "version 2"},
		{"no such transport", v2(1, 0x13, block4), "version 2"},
		{"UNSPEC of no such transport", v2(1, 0x03, block4), "version 2"},
		{"half an address", v2(1, 0x11, block4[:8]), "version 2"},
		{"half an address of UNIX", v2(1, 0x31, blockUn[:200]), "version 2"},
		{"half a TLV head", v2(1, 0x11, block4, "\x04\x00"), "malformed TLV"},
		{"half a TLV", v2(1, 0x11, block4, "\x04\x00\x02x"), "malformed TLV"},
		{"half a TLV of UDP", v2(1, 0x12, block4, "\x04\x00\x02x"), "malformed TLV"},
		{"a checksum of 16 bits", v2(1, 0x11, block4, "\x03\x00\x02xx"), "malformed TLV"},
		{"two checksums", v2(1, 0x11, block4, sum, sum), "malformed TLV"},
		{"a wrong checksum", damaged, "wrong checksum"},
		{"a wrong checksum of LOCAL", damagedLocal, "wrong checksum"},
	} {
		if _, o, err := read(c.header); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %v; want an error that says %q", c.name, meaning(o), err, c.says)
		}
	}
}

func TestTheBoundsHereAreThoseOfTheLibrary(t *testing.T) {
	if got := int(pires.MaxV2HeaderSize); got < longestAfter {
		t.Errorf("the library takes %d bytes; want at least %d", got, longestAfter)
	}
}

func TestWrittenHeadersNameBothEndsAndCarryTheTLVs(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		source, destination string
		v1                  string
		v2                  pires.AddressFamilyAndProtocol
	}{
		{"10.0.0.1:80", "10.0.0.2:8080", "PROXY TCP4 10.0.0.1 10.0.0.2 80 8080\r\n", pires.TCPv4},
		{"[::ffff:10.0.0.1]:80", "10.0.0.2:8080", "PROXY TCP4 10.0.0.1 10.0.0.2 80 8080\r\n", pires.TCPv4},
		{"[2001:db8::1]:1", "[::2]:2", "PROXY TCP6 2001:db8::1 ::2 1 2\r\n", pires.TCPv6},
		{"10.0.0.1:1", "[2001:db8::2]:2", "PROXY TCP6 ::ffff:10.0.0.1 2001:db8::2 1 2\r\n", pires.TCPv6},
	} {
		o := Origin{at(c.source), at(c.destination)}
		if b, err := Encode(V1, o, pires.TLV{Type: TLVLabel, Value: []byte("x")}); err != nil || string(b) != c.v1 {
			t.Errorf("%s to %s: got %q, %v; want %q", c.source, c.destination, b, err, c.v1)
		}
		b, err := Encode(V2, o, pires.TLV{Type: TLVLabel, Value: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		h, err := pires.Read(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || h.TransportProtocol != c.v2 || h.Command != pires.PROXY {
			t.Fatalf("%s to %s: got %+v, %v; want transport %#x", c.source, c.destination, h, err, c.v2)
		}
		if tlvs, err := h.TLVs(); err != nil || len(tlvs) != 1 || tlvs[0].Type != TLVLabel || string(tlvs[0].Value) != "x" {
			t.Errorf("TLVs: got %v, %v; want the label", tlvs, err)
		}
	}
}
