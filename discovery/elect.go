package discovery

import (
	"cmp"
	"net/netip"
	"slices"
)

// verdict is who of the candidates of one answer is master.
type verdict struct {
	winner candidate
	seen   int // how many masters there are, told apart by host:port as registered
}

// elect chooses the master among cs, which must not be empty: the highest
// Service.ModifyIndex, then the highest service id, then the highest node
// name. It looks at nothing else, least of all at who was master before, so
// that every instance of a tier, even one just started, chooses the same.
//
// ModifyIndex rises with a change of tags, address, port or meta, and neither
// with a check nor with an identical re-registration (Consul's
// agent/consul/state/catalog.go: ensureServiceTxn leaves one alone that
// IsSameService). Its weak spot: an old master that registers anew looks
// newest.
func elect(cs []candidate) verdict {
	return verdict{winner: slices.MaxFunc(cs, newer), seen: distinct(cs)}
}

// newer compares two claims: positive when a beats b.
func newer(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.modify, b.modify),
		cmp.Compare(a.id, b.id),
		cmp.Compare(a.node, b.node),
		a.addr.Compare(b.addr),
		cmp.Compare(a.host, b.host),
		cmp.Compare(a.port, b.port),
	)
}

// distinct counts the masters among cs. Two registrations of one address:port
// are one master. A host name is told apart from every address: whose it is
// would have to be looked up, and a losing candidate's silent name server must
// not delay the winner.
func distinct(cs []candidate) int {
	type address struct {
		host string
		addr netip.AddrPort
		port uint16
	}
	addresses := make(map[address]bool, len(cs))
	for _, c := range cs {
		addresses[address{c.host, c.addr, c.port}] = true
	}
	return len(addresses)
}

// same reports whether two answers hold the same candidates, in any order: with
// "passing" the order of an answer is arbitrary.
func same(a, b []candidate) bool {
	if len(a) != len(b) {
		return false
	}
	return slices.Equal(sorted(a), sorted(b))
}

func sorted(cs []candidate) []candidate {
	cs = slices.Clone(cs)
	slices.SortFunc(cs, newer)
	return cs
}
