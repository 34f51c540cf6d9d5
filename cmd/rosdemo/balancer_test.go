package main

import "testing"

func TestBalancerTakesReadyInstancesInTurn(t *testing.T) {
	b := &balancer{}
	if b.pick() != nil {
		t.Error("an empty pool has an instance")
	}
	instances := map[string]*rosproxy{}
	for _, name := range []string{"A", "B", "C"} {
		r := &rosproxy{name: name, process: &process{done: make(chan struct{})}}
		instances[name] = r
		b.add(r)
	}
	picks := func() map[string]int {
		got := map[string]int{}
		for range 60 {
			got[b.pick().name]++
		}
		return got
	}
	if got := picks(); len(got) == 0 {
		t.Errorf("none is ready: got %v; want one that runs", got)
	}
	instances["A"].ready.Store(true)
	instances["C"].ready.Store(true)
	if got := picks(); got["A"] < 15 || got["C"] < 15 || got["B"] != 0 {
		t.Errorf("A and C are ready: got %v; want both, and only them", got)
	}
	instances["A"].ready.Store(false)
	if got := picks(); got["C"] != 60 {
		t.Errorf("C is ready: got %v; want only C", got)
	}
	instances["C"].ready.Store(false)
	close(instances["A"].process.done)
	close(instances["C"].process.done)
	if got := picks(); got["B"] != 60 {
		t.Errorf("only B runs: got %v; want only B", got)
	}
}
