package proxy

import "testing"

func TestConnectionsBalanceOverTheShardsWithinTenPercent(t *testing.T) {
	for _, shards := range []int{2, 3, 4} {
		p, address := running(t, Config{Shards: shards}, echo(t))
		const total = 300
		for range total {
			roundTrip(t, dialed(t, address), []byte("x"))
		}
		even := total / shards
		for i := range shards {
			n := 0
			onShard(p, i, func(s *shard) { n = s.counters[0].active })
			if n < even*9/10 || n > even*11/10 {
				t.Errorf("%d shards: shard %d has %d of %d connections; want %d within 10 %%", shards, i, n, total, even)
			}
		}
	}
}
