// Package proxyproto is the PROXY protocol, as
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt has it: where a
// header ends, what it says, and how one is written. Nothing here does I/O.
//
// The libraries decode what has been delimited and bounded here. Where they are
// laxer or stricter than the specification, this package decides.
package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"

	armon "github.com/armon/go-proxyproto"
	pires "github.com/pires/go-proxyproto"
)

// Version is the version of a PROXY protocol header.
type Version uint8

// The versions; the zero value is no header.
const (
	Off Version = iota
	V1          // text
	V2          // binary, with TLVs
)

// The bounds of a header. The specification sets that of version 1; one of
// version 2 may be 64 KiB long, which none is: the longest known carries the
// client's certificate.
const (
	longestV1     = 107
	fixedV2       = 16 // signature, command, family, and the length of what follows
	longestAfter  = 4096
	LongestHeader = fixedV2 + longestAfter
	// LongestLabel keeps a header of ours within what receivers take.
	LongestLabel = 1024
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// TLVs of our own, in the range for applications (2.2.8).
const (
	TLVLabel = pires.PP2_TYPE_MIN_CUSTOM     // the label, UTF-8
	TLVEpoch = pires.PP2_TYPE_MIN_CUSTOM + 1 // the master's epoch, decimal
)

// What a header can be wrong in, where it is not a library that says so.
var (
	errNoHeader  = errors.New("no PROXY protocol header")
	errLineEnd   = errors.New("version 1: the line does not end in CRLF")
	errTooLongV1 = fmt.Errorf("version 1: no CRLF in the first %d bytes", longestV1)
	errTLV       = errors.New("version 2: malformed TLV")
	errChecksum  = errors.New("version 2: wrong checksum")
)

// Origin is what a header says of where a connection comes from.
type Origin struct {
	Source      netip.AddrPort // the client
	Destination netip.AddrPort // what the client had connected to
}

// Delimit returns the length of the header that b begins with, 0 when more of
// it is needed to know. The error comes as soon as b cannot become one.
func Delimit(b []byte) (int, error) {
	switch {
	case beginsLike(b, signatureV1):
		return delimitV1(b)
	case beginsLike(b, signatureV2):
		return delimitV2(b)
	default:
		return 0, errNoHeader
	}
}

// beginsLike compares as much as there is of both.
func beginsLike(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

// delimitV1 finds the CRLF. A CR or LF alone ends no line and is in none.
func delimitV1(b []byte) (int, error) {
	line := b[:min(len(b), longestV1)]
	end := bytes.IndexAny(line, "\r\n")
	switch {
	case end < 0 || line[end] == '\r' && end == len(line)-1:
		if len(line) == longestV1 {
			return 0, errTooLongV1
		}
		return 0, nil
	case line[end] == '\n' || line[end+1] != '\n':
		return 0, errLineEnd
	default:
		return end + 2, nil
	}
}

func delimitV2(b []byte) (int, error) {
	if at := len(signatureV2); len(b) > at && b[at]>>4 != 2 {
		return 0, fmt.Errorf("version %d after the signature of version 2", b[at]>>4)
	}
	if len(b) < fixedV2 {
		return 0, nil
	}
	after := int(binary.BigEndian.Uint16(b[fixedV2-2:]))
	if after > longestAfter {
		return 0, fmt.Errorf("version 2: %d bytes after the first %d; at most %d are taken", after, fixedV2, longestAfter)
	}
	if len(b) < fixedV2+after {
		return 0, nil
	}
	return fixedV2 + after, nil
}

// Decode reads a header that Delimit has found. It returns nil where the
// addresses of the socket itself count: LOCAL, UNKNOWN, and what is no TCP.
func Decode(header []byte) (*Origin, error) {
	if beginsLike(header, signatureV1) {
		return decodeV1(header)
	}
	return decodeV2(header)
}

// decodeV1 has armon read the line, which takes any address and number where
// the specification does not.
func decodeV1(header []byte) (*Origin, error) {
	fields := strings.Split(string(header[:len(header)-2]), " ")
	if fields[1] == "UNKNOWN" { // whatever follows is to be ignored; armon refuses it
		return nil, nil
	}
	conn := armon.NewConn(&delimited{bytes: bytes.NewReader(header)}, 0) // no timeout: the header is all there
	if _, err := conn.Read(nil); err != nil {
		return nil, fmt.Errorf("version 1: %w", err)
	}
	o, err := originOf(conn.RemoteAddr(), conn.LocalAddr())
	if err != nil {
		return nil, fmt.Errorf("version 1: %w", err)
	}
	for i, port := range []int{conn.RemoteAddr().(*net.TCPAddr).Port, conn.LocalAddr().(*net.TCPAddr).Port} {
		address, number := fields[2+i], fields[4+i]
		if isV6 := strings.Contains(address, ":"); isV6 != (fields[1] == "TCP6") {
			return nil, fmt.Errorf("version 1: %q is no address of %s", address, fields[1])
		}
		if strconv.Itoa(int(uint16(port))) != number {
			return nil, fmt.Errorf("version 1: %q is no port", number)
		}
	}
	return o, nil
}

// delimited is a header as the connection that armon wants to read it from.
type delimited struct {
	net.Conn // nil: none of its other methods is called
	bytes    *bytes.Reader
}

func (d *delimited) Read(b []byte) (int, error) { return d.bytes.Read(b) }
func (d *delimited) Close() error               { return nil }
func (d *delimited) RemoteAddr() net.Addr       { return nil }
func (d *delimited) LocalAddr() net.Addr        { return nil }

// decodeV2 has pires read a header of TCP. It refuses LOCAL of a family that
// it does not know, and UNSPEC, both of which are to be taken; and it leaves
// the TLVs and their checksum alone.
func decodeV2(header []byte) (*Origin, error) {
	command, family, transport := header[12]&0xf, header[13]>>4, header[13]&0xf
	switch {
	case command == 0, command == 1 && (family == 0 && transport <= 2 || family <= 3 && transport == 0):
		// Whatever comes after the first bytes is to be ignored and may be
		// anything; but a checksum is a checksum.
		if err := checkTLVs(header, fixedV2+addressBlock(family)); errors.Is(err, errChecksum) {
			return nil, err
		}
		return nil, nil
	case command > 1:
		return nil, fmt.Errorf("version 2: no such command: %d", command)
	}
	h, err := pires.Read(bufio.NewReaderSize(bytes.NewReader(header), fixedV2))
	if err != nil {
		return nil, fmt.Errorf("version 2: %w", err)
	}
	if err := checkTLVs(header, fixedV2+addressBlock(family)); err != nil {
		return nil, err
	}
	if h.TransportProtocol != pires.TCPv4 && h.TransportProtocol != pires.TCPv6 {
		return nil, nil // valid, and nothing of ours: as if UNSPEC (2.2)
	}
	return originOf(h.SourceAddr, h.DestinationAddr)
}

// addressBlock is the length of the two addresses, with their ports.
func addressBlock(family byte) int {
	switch family {
	case 1:
		return 2*4 + 2*2
	case 2:
		return 2*16 + 2*2
	case 3:
		return 2 * 108
	default:
		return 0
	}
}

// checkTLVs walks the TLVs of header, which begin at at, and verifies the
// checksum if one of them is one (2.2.3).
func checkTLVs(header []byte, at int) error {
	const head, sumSize = 3, 4
	sum := 0
	for at < len(header) {
		if len(header)-at < head {
			return errTLV
		}
		kind, length := pires.PP2Type(header[at]), int(binary.BigEndian.Uint16(header[at+1:]))
		at += head
		if length > len(header)-at {
			return errTLV
		}
		if kind == pires.PP2_TYPE_CRC32C {
			if length != sumSize || sum != 0 {
				return errTLV
			}
			sum = at
		}
		at += length
	}
	if sum == 0 {
		return nil
	}
	got := crc32.Update(0, castagnoli, header[:sum])
	got = crc32.Update(got, castagnoli, make([]byte, sumSize)) // it counts as zeros
	got = crc32.Update(got, castagnoli, header[sum+sumSize:])
	if got != binary.BigEndian.Uint32(header[sum:]) {
		return errChecksum
	}
	return nil
}

// originOf shows an IPv4 address as one, in whatever family it came.
func originOf(source, destination net.Addr) (*Origin, error) {
	s, sok := source.(*net.TCPAddr)
	d, dok := destination.(*net.TCPAddr)
	if !sok || !dok {
		return nil, errors.New("no addresses")
	}
	return &Origin{Source: unmapped(s.AddrPort()), Destination: unmapped(d.AddrPort())}, nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Encode writes the header of a connection. Where only one of its addresses is
// IPv4, that one is written as IPv6 (::ffff:192.0.2.1): version 1 has no other
// way to name both. Version 1 carries no TLVs.
func Encode(version Version, o Origin, tlvs ...pires.TLV) ([]byte, error) {
	h := pires.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(o.Source), net.TCPAddrFromAddrPort(o.Destination))
	if version == V2 {
		if err := h.SetTLVs(tlvs); err != nil {
			return nil, fmt.Errorf("write TLVs: %w", err)
		}
	}
	b, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	return b, nil
}
