// Package events remembers what happened last: the failovers, losses, pauses, drains
// and upgrades that the log tells of, for those who ask the process instead of
// reading its log.
package events

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// kept is how many events are remembered.
const kept = 50

// Event is one line of the log.
type Event struct {
	At      time.Time
	Name    string // failover, lost, back, pause, resume, drain, upgrade or activation
	Message string // the line's
	Fields  []any  // the line's, name and value in turn; not to be changed
}

// Field is the value of a field; nil: there is none of that name.
func (e Event) Field(name string) any {
	for i := 0; i+1 < len(e.Fields); i += 2 {
		if e.Fields[i] == name {
			return e.Fields[i+1]
		}
	}
	return nil
}

// Label is that of the event; empty: it is the process's.
func (e Event) Label() string {
	label, _ := e.Field("label").(string)
	return label
}

// Recent is the latest events. The zero Recent is ready for use; a nil one
// remembers nothing.
type Recent struct {
	// Follow is called with each event, in their order; nil: nobody follows. It must
	// not block.
	Follow func(Event)

	mu    sync.Mutex
	ring  [kept]Event
	added int // ever
}

// Add remembers an event. Failovers wait for it: it does nothing that could take long.
func (r *Recent) Add(name, message string, fields []any) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := Event{At: time.Now(), Name: name, Message: message, Fields: fields}
	r.ring[r.added%kept] = e
	r.added++
	if r.Follow != nil {
		r.Follow(e)
	}
}

// Tell writes a line of log and remembers it, whatever the level of log. fields are
// name and value in turn.
func (r *Recent) Tell(log zerolog.Logger, level zerolog.Level, name, message string, fields ...any) {
	log.WithLevel(level).Fields(fields).Msg(message)
	r.Add(name, message, fields)
}

// All are those that are remembered, the oldest first.
func (r *Recent) All() []Event {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := max(0, r.added-kept)
	all := make([]Event, 0, r.added-first)
	for i := first; i < r.added; i++ {
		all = append(all, r.ring[i%kept])
	}
	return all
}
