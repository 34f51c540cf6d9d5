package main

import (
	"testing"
	"time"
)

func TestLapsedLeaseIsNotExtended(t *testing.T) {
	l := &lease{ttl: time.Hour}
	if l.valid() {
		t.Error("a lease that never began is valid")
	}
	l.begin(time.Now())
	if !l.valid() {
		t.Error("a lease that began now is not valid")
	}
	l.begin(time.Now().Add(-2 * time.Hour))
	l.extend(time.Now())
	if l.valid() {
		t.Error("a lapsed lease was extended by a late sign of life")
	}
}

func TestLeaseCountsFromBeforeTheWorkerSpoke(t *testing.T) {
	l := &lease{ttl: time.Hour}
	l.begin(time.Now())
	l.extend(time.Now().Add(-2 * time.Hour)) // the answer took that long
	if l.valid() {
		t.Error("the lease counts from the answer; want from the question")
	}
}
