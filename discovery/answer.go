package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// kind is what an answer of Consul amounts to.
type kind uint8

const (
	unknown kind = iota // not obtained, or not understood
	denied              // unknown too: the token may not see what was asked for
	none                // nobody claims to be master
	found               // somebody does, though perhaps with an unusable address
)

// answer is one answer of Consul to a question.
type answer struct {
	kind      kind
	err       error      // why it is unknown or denied; nil otherwise
	index     uint64     // X-Consul-Index; 0: none that can be used
	instances *instances // of a question about a service
	entry     *entry     // of a question about a key; nil: it is absent
	indexOnly bool       // it says nothing but the index
	filtered  error      // why it is no proof that an instance is missing from it; nil: it is one

	agent      int       // who was asked
	consistent bool      // by a non-blocking read that the leader confirmed with a quorum
	asked      uint64    // the index that the long poll waited on; 0: it did not block
	began      time.Time // when the request was sent
	arrived    time.Time // when the last byte of the answer was read

	begun time.Duration // of a consistent read: began, since boot
}

// says reports whether a holds the same as b, whatever their indexes.
func (a answer) says(b answer) bool {
	if a.instances != nil && b.instances != nil {
		return a.instances == b.instances || same(a.instances.all.candidates, b.instances.all.candidates)
	}
	return a.instances == b.instances && a.entry.equal(b.entry)
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

// understood is the answer about a service that parsed to in.
func understood(meta *api.QueryMeta, in *instances, hasToken bool) answer {
	a := answer{index: meta.LastIndex, instances: in}
	if err := consul.NoLeader(meta); err != nil {
		return failed(err)
	}
	if meta.ResultsFilteredByACLs {
		a.filtered = errors.New("denied: Consul left instances out that the token may not read; it needs service:read and node:read")
	}
	switch {
	case len(in.all.candidates) > 0:
		a.kind = found
	case in.malformed > 0:
		return failed(fmt.Errorf("understand the answer: %d of %d entries have no Node or no Service", in.malformed, in.entries))
	case len(in.all.rejects) > 0:
		a.kind = found
	default:
		a.kind, a.err = emptiness(meta, hasToken)
	}
	return a
}

// indexAlone is an answer that says nothing but the index.
func indexAlone(meta *api.QueryMeta) answer {
	if err := consul.NoLeader(meta); err != nil {
		return failed(err)
	}
	return answer{kind: found, index: meta.LastIndex, indexOnly: true}
}

// understoodKey is the answer about a key that holds e; nil: it is absent, which
// a token that may not see the key is never told (it gets 403).
func understoodKey(meta *api.QueryMeta, e *entry) answer {
	if err := consul.NoLeader(meta); err != nil {
		return failed(err)
	}
	if e == nil {
		return answer{kind: none, index: meta.LastIndex}
	}
	return answer{kind: found, index: meta.LastIndex, entry: e}
}

// failed is the answer that was not obtained or not understood.
func failed(err error) answer { return answer{kind: unknown, err: err} }

// refused is the answer that was not obtained because of err, as consul.Client
// explains it.
func refused(err error) answer {
	a := failed(err)
	if consul.IsDenial(err) {
		a.kind = denied
	}
	return a
}

// emptiness tells an empty list that means "nobody" from one that means "access
// denied". A token without rights gets 200 and an empty list, marked
// as filtered when something was left out (api-docs/api-structure#acl, since
// Consul 1.11); when nothing is there to leave out, a request without a token
// against default deny still learned nothing.
func emptiness(meta *api.QueryMeta, hasToken bool) (kind, error) {
	if meta.ResultsFilteredByACLs {
		return denied, errors.New("denied: Consul left instances out that the token may not read; it needs service:read and node:read")
	}
	if !hasToken && meta.DefaultACLPolicy == "deny" {
		return denied, errors.New("denied: the answer is empty, no token was sent and Consul's default policy is deny; give a token with service:read and node:read")
	}
	return none, nil
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
	return reject{who: text.Quoted(c.id) + " on " + text.Quoted(c.node), why: err.Error()}
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
func claim(e *instance) (candidate, error) {
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
	if !hostname.IsValid(host) {
		return netip.Addr{}, false, fmt.Errorf("address %s is neither an IP address nor a host name", text.Quoted(host))
	}
	return netip.Addr{}, false, nil
}

// IsHostName reports whether s may be asked of a resolver. A name whose last
// label is a number is a mistyped IP address.
func IsHostName(s string) bool { return hostname.IsValid(s) }
