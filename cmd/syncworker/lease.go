package main

import (
	"sync"
	"time"
)

// lease is how long this worker may believe what Consul last told it.
//
// Its check goes critical, and with it its session and its locks, no earlier
// than ttl after Consul heard from it. The lease counts from before the worker
// spoke, so it always ends first: a master whose lease has lapsed stops
// acknowledging before anybody else can hold its lock.
type lease struct {
	ttl time.Duration

	mu    sync.Mutex
	until time.Time
}

// begin starts a new lease by a registration that was sent at the time sent.
func (l *lease) begin(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = sent.Add(l.ttl)
}

// extend lengthens a living lease by a sign of life that was sent at the time
// sent. A lapsed one stays lapsed: what it stood for may be another's by now.
func (l *lease) extend(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		l.until = sent.Add(l.ttl)
	}
}

func (l *lease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}
