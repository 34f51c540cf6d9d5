package discovery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// kind is what an answer of Consul amounts to.
type kind uint8

const (
	unknown kind = iota // not obtained, or not understood
	denied              // unknown too: the token may not see what was asked for
	none                // nobody claims to be master
	found               // somebody does, though perhaps with an unusable address
)

// answer is one answer of Consul to the question who is master of a label.
type answer struct {
	kind       kind
	err        error       // why it is unknown or denied; nil otherwise
	index      uint64      // X-Consul-Index; 0: none that can be used
	candidates []candidate // those who claim to be master, and might be reached
	rejects    []reject    // those who claim to be, and cannot be
	failing    []Failing   // those who would claim to be, if their checks passed

	agent      int       // who was asked
	consistent bool      // by a non-blocking read that the leader confirmed with a quorum
	asked      uint64    // the index that the long poll waited on; 0: it did not block
	began      time.Time // when the request was sent
	arrived    time.Time // when the last byte of the answer was read

	begun time.Duration // of a consistent read: began, since boot
}

// candidate is an instance that claims to be master, as it is registered.
type candidate struct {
	id, node string
	host     string // a name that must be looked up; empty when the registration has an IP address
	port     uint16
	addr     netip.AddrPort // not valid: it has a host
	modify   uint64         // Service.ModifyIndex
}

// master is c at addr, as it is handed out.
func (c candidate) master(addr netip.AddrPort, seen time.Time) Master {
	return Master{Address: addr, ServiceID: short(c.id), Node: short(c.node), Seen: seen}
}

// short cuts a name that came from outside to 256 bytes, and never within a
// character: everything that shows it could otherwise be flooded by a registration.
func short(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// reject is a claim that cannot be followed.
type reject struct {
	who string // for people
	why string
}

func (r reject) String() string { return r.who + ": " + r.why }

// entry is what the watch needs of one element of /v1/health/service. The
// types of Consul's own client are not used: they decode ten times as much,
// and one odd duration in a check's definition would spoil the whole answer.
type entry struct {
	Node *struct {
		Node    string
		Address string
	}
	Service *struct {
		ID          string
		Address     string
		Port        int
		Tags        []string
		ModifyIndex uint64
	}
	Checks []check
}

type check struct {
	CheckID string
	Name    string
	Status  string
}

// decode understands an answer of /v1/health/service: it never panics,
// whatever was sent. tags are those that a master must carry, and hasToken
// reports whether the request carried a token.
func decode(status int, header http.Header, body []byte, tags []string, hasToken bool) answer {
	if status != http.StatusOK {
		return refusal(status, body)
	}
	a := answer{index: indexOf(header)}
	var entries []entry
	if err := json.Unmarshal(body, &entries); err != nil {
		return failed(fmt.Errorf("understand the answer: %w", err))
	}
	if entries == nil {
		return failed(errors.New("understand the answer: it is null, not a list"))
	}
	// Only where the answer did not come from the streaming backend, which
	// never knows a leader (measured on v1.15.4: agent/submatview sets no
	// KnownLeader). The header is documented in api-docs/features/consistency.
	if header.Get("X-Consul-Query-Backend") == "blocking-query" && header.Get("X-Consul-Knownleader") == "false" {
		return failed(errors.New("the server knows no leader"))
	}

	malformed := 0
	for i := range entries {
		e := &entries[i]
		if e.Node == nil || e.Service == nil {
			malformed++
			a.rejects = append(a.rejects, reject{"an entry", "it has no Node or no Service"})
			continue
		}
		if !carries(e.Service.Tags, tags) {
			continue
		}
		if c := failing(e.Checks); c != nil {
			a.failing = append(a.failing, Failing{
				ServiceID: short(e.Service.ID), Node: short(e.Node.Node), Check: short(cmp.Or(c.Name, c.CheckID)), Status: c.Status,
			})
			continue
		}
		c, err := claim(e)
		if err != nil {
			a.rejects = append(a.rejects, c.reject(err))
			continue
		}
		a.candidates = append(a.candidates, c)
	}
	switch {
	case len(a.candidates) > 0:
		a.kind = found
	case malformed > 0:
		return failed(fmt.Errorf("understand the answer: %d of %d entries have no Node or no Service", malformed, len(entries)))
	case len(a.rejects) > 0:
		a.kind = found
	default:
		a.kind, a.err = emptiness(header, hasToken)
	}
	return a
}

// failed is the answer that was not obtained or not understood.
func failed(err error) answer { return answer{kind: unknown, err: err} }

// refusal is what an answer with another status than 200 means. All of them
// are unknown: 500 without a leader, 429 and 503 at a limit, 403 for a token
// that Consul does not know or that was revoked.
func refusal(status int, body []byte) answer {
	a := failed(fmt.Errorf("status %d: %s", status, quoted(strings.TrimSpace(string(body)))))
	if status == http.StatusForbidden || status == http.StatusUnauthorized {
		a.kind = denied
		a.err = fmt.Errorf("denied: %w; give a token with service:read and node:read", a.err)
	}
	return a
}

// emptiness tells an empty list that means "nobody" from one that means "access
// denied". A token without rights gets 200 and an empty list, marked
// as filtered when something was left out (api-docs/api-structure#acl, since
// Consul 1.11); when nothing is there to leave out, a request without a token
// against default deny still learned nothing.
func emptiness(header http.Header, hasToken bool) (kind, error) {
	if header.Get("X-Consul-Results-Filtered-By-Acls") == "true" {
		return denied, errors.New("denied: Consul left instances out that the token may not read; it needs service:read and node:read")
	}
	if !hasToken && header.Get("X-Consul-Default-Acl-Policy") == "deny" {
		return denied, errors.New("denied: the answer is empty, no token was sent and Consul's default policy is deny; give a token with service:read and node:read")
	}
	return none, nil
}

// indexOf reads X-Consul-Index; 0 when it is missing or garbage.
func indexOf(header http.Header) uint64 {
	n, err := strconv.ParseUint(header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// carries reports whether have holds all of want, regardless of case. Consul
// filters by tag itself, but once kept instances that had lost the tag
// (consul#12640), and before 1.3 looked at one tag only.
func carries(have, want []string) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, w) }) {
			return false
		}
	}
	return true
}

// reject is c's claim, not to be followed because of err.
func (c candidate) reject(err error) reject {
	return reject{who: quoted(c.id) + " on " + quoted(c.node), why: err.Error()}
}

// failing answers the worst check that does not pass; nil: all do. A long poll
// asks for passing instances only, but not every server has kept to that.
func failing(checks []check) *check {
	var worst *check
	for i := range checks {
		switch c := &checks[i]; c.Status {
		case "critical", "maintenance":
			return c
		case "warning":
			if worst == nil {
				worst = c
			}
		}
	}
	return worst
}

// claim makes a candidate of e, or says why nobody could connect to it.
func claim(e *entry) (candidate, error) {
	c := candidate{id: e.Service.ID, node: e.Node.Node, modify: e.Service.ModifyIndex}
	// An empty Service.Address means that of the node
	// (api-docs/health#list-nodes-for-service).
	host := e.Service.Address
	if host == "" {
		host = e.Node.Address
	}
	if e.Service.Port <= 0 || e.Service.Port > 65535 {
		return c, fmt.Errorf("port %d is unusable", e.Service.Port)
	}
	c.port = uint16(e.Service.Port)
	addr, isIP, err := parseHost(host)
	if err != nil {
		return c, err
	}
	if isIP {
		c.addr = netip.AddrPortFrom(addr, c.port)
	} else {
		c.host = host
	}
	return c, nil
}

// parseHost tells an IP address, with or without brackets, from a host name.
// It returns an error for what can be neither, and for an IP address that
// nobody can connect to.
func parseHost(host string) (addr netip.Addr, isIP bool, err error) {
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		addr = addr.Unmap()
		if addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return addr, true, fmt.Errorf("address %s is unusable", addr)
		}
		return addr, true, nil
	}
	if !IsHostName(host) {
		return netip.Addr{}, false, fmt.Errorf("address %s is neither an IP address nor a host name", quoted(host))
	}
	return netip.Addr{}, false, nil
}

// IsHostName reports whether s may be asked of a resolver. A name whose last
// label is a number is a mistyped IP address.
func IsHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

// quoted shows what came from outside: escaped, and at most 120 bytes of it.
func quoted(s string) string {
	const most = 120
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
