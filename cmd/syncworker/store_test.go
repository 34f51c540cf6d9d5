package main

import (
	"slices"
	"testing"
)

func TestStorePutsARecordOnce(t *testing.T) {
	s := newStore()
	first, second := s.put(record{"a", 1}), s.put(record{"b", 1})
	if again := s.put(record{"a", 1}); first != 1 || second != 2 || again != 1 {
		t.Errorf("positions got %d, %d, again %d; want 1, 2, again 1", first, second, again)
	}
	if got := s.size(); got != 2 {
		t.Errorf("size got %d; want 2", got)
	}
}

func TestStoreWakesReadersWhenItGrows(t *testing.T) {
	s := newStore()
	s.put(record{"a", 1})
	log, grown := s.after(1)
	if len(log) != 0 {
		t.Fatalf("records after 1 got %v; want none", log)
	}
	s.put(record{"a", 2})
	<-grown
	if log, _ := s.after(1); !slices.Equal(log, []record{{"a", 2}}) {
		t.Errorf("records after 1 got %v; want a 2", log)
	}
}

func TestStoreSliceSurvivesGrowthAndReplacement(t *testing.T) {
	s := newStore()
	s.put(record{"a", 1})
	log, _ := s.after(0)
	s.put(record{"a", 2})
	s.replace([]record{{"b", 1}}, "h")
	if !slices.Equal(log, []record{{"a", 1}}) {
		t.Errorf("slice handed out before got %v; want a 1", log)
	}
	if p := s.put(record{"b", 1}); p != 1 {
		t.Errorf("position of a replaced record got %d; want 1", p)
	}
	if p := s.put(record{"a", 1}); p != 2 {
		t.Errorf("position of a record that was replaced away got %d; want 2, as a new one", p)
	}
}
