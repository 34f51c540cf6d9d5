package discovery

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func claimOf(node, id, address string, modify uint64) candidate {
	a := addr(address)
	return candidate{node: node, id: id, addr: a, port: a.Port(), modify: modify}
}

func TestNewestRegistrationIsElected(t *testing.T) {
	for _, tc := range []struct {
		name string
		cs   []candidate
		want string
		seen int
	}{
		{"one", []candidate{claimOf("n", "a", "10.0.0.1:1", 5)}, "10.0.0.1:1", 1},
		{"the highest ModifyIndex", []candidate{claimOf("n1", "z", "10.0.0.1:1", 5), claimOf("n2", "a", "10.0.0.2:1", 6)}, "10.0.0.2:1", 2},
		{"then the highest service id", []candidate{claimOf("z", "a", "10.0.0.1:1", 5), claimOf("a", "b", "10.0.0.2:1", 5)}, "10.0.0.2:1", 2},
		{"then the highest node", []candidate{claimOf("n1", "a", "10.0.0.9:1", 5), claimOf("n2", "a", "10.0.0.2:1", 5)}, "10.0.0.2:1", 2},
		{"the same id on two nodes", []candidate{claimOf("n1", "a", "10.0.0.1:1", 7), claimOf("n2", "a", "10.0.0.2:1", 5)}, "10.0.0.1:1", 2},
		{"two ids at one address are one master", []candidate{claimOf("n", "a", "10.0.0.1:1", 5), claimOf("n", "b", "10.0.0.1:1", 6)}, "10.0.0.1:1", 1},
		{"two ports of one address are two", []candidate{claimOf("n", "a", "10.0.0.1:1", 5), claimOf("n", "b", "10.0.0.1:2", 6)}, "10.0.0.1:2", 2},
		{"a host name can win", []candidate{claimOf("n", "a", "10.0.0.1:1", 5), {node: "n", id: "b", host: "gone", port: 1, modify: 6}}, "gone:1", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 20 {
				rand.Shuffle(len(tc.cs), func(i, j int) { tc.cs[i], tc.cs[j] = tc.cs[j], tc.cs[i] })
				v := elect(tc.cs)
				got := v.winner.addr.String()
				if v.winner.host != "" {
					got = fmt.Sprintf("%s:%d", v.winner.host, v.winner.port)
				}
				if got != tc.want || v.seen != tc.seen {
					t.Fatalf("got %s of %d; want %s of %d", got, v.seen, tc.want, tc.seen)
				}
			}
		})
	}
}

func TestSameSetInAnyOrder(t *testing.T) {
	a, b, c := claimOf("n", "a", "10.0.0.1:1", 5), claimOf("n", "b", "10.0.0.2:1", 6), claimOf("n", "b", "10.0.0.2:1", 7)
	for _, tc := range []struct {
		x, y []candidate
		want bool
	}{
		{nil, nil, true},
		{[]candidate{a, b}, []candidate{b, a}, true},
		{[]candidate{a}, []candidate{a, b}, false},
		{[]candidate{a, b}, []candidate{a, c}, false},
	} {
		if got := same(tc.x, tc.y); got != tc.want {
			t.Errorf("same(%v, %v): got %v; want %v", tc.x, tc.y, got, tc.want)
		}
	}
}
