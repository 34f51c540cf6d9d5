package main

import (
	"strings"
	"testing"
	"time"
)

func TestPlainScreenHasNoControlCharacters(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.title("1. Title", "words")
	s.status("live")
	s.event(2310*time.Millisecond, "%s happened", s.paint(red, "it"))
	s.note("a note")
	s.close()
	want := "\n1. Title\n   words\n +2,310 ms  it happened\n            a note\n"
	if got := out.String(); got != want {
		t.Errorf("screen got %q; want %q", got, want)
	}
}

func TestLiveLineStaysBelowTheOthers(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out, live: true}
	s.status("live")
	s.print("stays")
	s.close()
	const clear = "\r\x1b[K"
	if got, want := out.String(), clear+"live"+clear+"stays\nlive"+clear; got != want {
		t.Errorf("screen got %q; want %q", got, want)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 31204: "31,204", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) got %q; want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0 ms", 0: "0 ms", 900: "less than 1 ms", 1500 * time.Millisecond: "1,500 ms"} {
		if got := clock(d); got != want {
			t.Errorf("clock(%d) got %q; want %q", d, got, want)
		}
	}
}
