package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rosproxy/rosproxy/discovery"
)

// The forms that the text of a flag can take. Each function answers an error
// that names flag, value and reason.

// parseDuration reads a duration from least to most. A flag without a value is 0.
func parseDuration(s settings, flag string, least, most time.Duration) (time.Duration, error) {
	v, ok := s.one(flag)
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(v.text)
	switch {
	case err != nil:
		return 0, v.fault("not a duration such as 500ms, 10s or 5m")
	case d < 0:
		return 0, v.fault("negative")
	case d < least:
		return 0, v.fault("shorter than %v", least)
	case d > most:
		return 0, v.fault("longer than %v", most)
	}
	return d, nil
}

// parseCount reads a whole number from least to most. A flag without a value is 0.
func parseCount(s settings, flag string, least, most int) (int, error) {
	v, ok := s.one(flag)
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(v.text)
	switch {
	case err != nil:
		return 0, v.fault("not a whole number")
	case n < least:
		return 0, v.fault("less than %d", least)
	case n > most:
		return 0, v.fault("more than %d", most)
	}
	return n, nil
}

// parseCongestion reads a name that a congestion control may have. Whether the
// kernel has one of that name is not known here.
func parseCongestion(s settings) (string, error) {
	v, ok := s.one(flagCongestion)
	if !ok {
		return "", nil
	}
	if !congestionName.MatchString(v.text) {
		return "", v.fault("not a name of 1 to 15 letters, digits, _ and -")
	}
	return v.text, nil
}

// congestionName is shorter than the kernel's TCP_CA_NAME_MAX.
var congestionName = regexp.MustCompile(`^[a-z0-9_-]{1,15}$`)

// parseSocketBuffer reads a size that is not too small for the kernel, or 0.
func parseSocketBuffer(s settings) (int, error) {
	least := minSocketBuffer
	if v, ok := s.one(flagSocketBuffer); ok && v.text == "0" {
		least = 0
	}
	return parseCount(s, flagSocketBuffer, least, maxSocketBuffer)
}

// parseChoice reads one of a few words. A flag without a value is empty.
func parseChoice(s settings, flag string, words ...string) (string, error) {
	v, ok := s.one(flag)
	if !ok {
		return "", nil
	}
	if !slices.Contains(words, v.text) {
		return "", v.fault("not one of %s", strings.Join(words, ", "))
	}
	return v.text, nil
}

// parseBool reads a flag that is on or off.
func parseBool(s settings, flag string) (bool, error) {
	v, ok := s.one(flag)
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(v.text)
	if err != nil {
		return false, v.fault("neither true nor false")
	}
	return b, nil
}

// labelled is text of the form [LABEL=]REST.
type labelled struct {
	value
	label string // empty: none was written
	rest  string
}

// cutLabel reads [LABEL=]REST.
func cutLabel(v value) (labelled, error) {
	label, rest, found := strings.Cut(v.text, "=")
	if !found {
		return labelled{value: v, rest: v.text}, nil
	}
	if reason := badLabel(label); reason != "" {
		return labelled{}, v.fault("%s", reason)
	}
	return labelled{value: v, label: label, rest: rest}, nil
}

// maxLabel keeps log lines and metrics readable.
const maxLabel = 128

// badLabel says what is wrong with a label; empty when nothing is. Anything
// that prints is a label, but for what would make a list of them ambiguous.
func badLabel(label string) string {
	switch {
	case label == "":
		return "the label is empty"
	case len(label) > maxLabel:
		return "the label is longer than " + strconv.Itoa(maxLabel) + " bytes"
	case !isPlain(label) || strings.Contains(label, ","):
		return "the label has a character that is no letter, digit or sign"
	case strings.Contains(label, "="):
		return "the label has a =, with which --listen ends one"
	}
	return ""
}

// isPlain reports whether s is valid UTF-8 without spaces and control characters.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == utf8.RuneError
	})
}

// SplitHostPort splits HOST:PORT and says what is wrong with it; the reason
// is empty when nothing is. HOST may be empty.
func SplitHostPort(address string) (host string, port uint16, reason string) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, "not HOST:PORT (an IPv6 address goes in brackets)"
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, "the port is no number from 0 to 65535"
	}
	if host == "" {
		return "", uint16(n), ""
	}
	if _, err := netip.ParseAddr(host); err != nil && !discovery.IsHostName(host) {
		return "", 0, "the host is neither an IP address nor a host name"
	}
	return host, uint16(n), ""
}

// isLoopback reports whether nobody but this machine can connect to host.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
