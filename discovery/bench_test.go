package discovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// cluster is an answer that names n instances, the first of them with the master's tag.
func cluster(n int) []byte {
	entries := make([]string, n)
	for i := range entries {
		role := "role=slave"
		if i == 0 {
			role = "role=master"
		}
		entries[i] = registered(fmt.Sprintf("n%d", i), "10.0.0.9", fmt.Sprintf("sync-%d", i), fmt.Sprintf("10.0.0.%d", i+1), 7800, 5+i, role)
	}
	return []byte("[" + strings.Join(entries, ",") + "]")
}

func BenchmarkDecode(b *testing.B) {
	header := headers("X-Consul-Index", "7")
	for _, n := range []int{1, 5, 50} {
		b.Run(fmt.Sprintf("instances=%d", n), func(b *testing.B) {
			body := cluster(n)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if a := decode(http.StatusOK, header, body, masterTags, false); a.kind != found {
					b.Fatalf("got %v (%v); want a master", a.kind, a.err)
				}
			}
		})
	}
}

func BenchmarkElect(b *testing.B) {
	cs := []candidate{master(1, 5), master(2, 9), master(3, 7)}
	b.ReportAllocs()
	for b.Loop() {
		if v := elect(cs); v.winner.id != "sync-2" {
			b.Fatalf("got %q; want sync-2", v.winner.id)
		}
	}
}

// BenchmarkObserve is what every answer of every agent costs: here each one
// names another master than the last.
func BenchmarkObserve(b *testing.B) {
	o := newObserver(Config{}.withDefaults(), 1)
	now := time.Unix(1e9, 0)
	masters := [][]candidate{{master(1, 5)}, {master(2, 6)}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Second)
		a := answer{kind: found, index: uint64(i) + 1, instances: instancesOf(masters[i%2]...), began: now, arrived: now}
		if got := o.observe(a); got.do != setMaster {
			b.Fatalf("answer %d: got order %d; want a new master", i, got.do)
		}
	}
}
