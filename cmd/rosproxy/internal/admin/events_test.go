package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
)

// TestEventsAreFitForWhoeverReadsThem: times are in UTC, durations in milliseconds as
// in the log, and text that came from elsewhere is printable and bounded.
func TestEventsAreFitForWhoeverReadsThem(t *testing.T) {
	at := time.Date(2026, 11, 25, 23, 0, 0, 0, time.FixedZone("", 3600))
	b, err := json.Marshal(newEvent(events.Event{At: at, Name: "drain", Message: "drain started", Fields: []any{
		"deadline", at, "grace_ms", 1500 * time.Millisecond, "error", errors.New("no\x1b[1mway"), "by", "a\nb" + strings.Repeat("x", 2*maxField),
	}}))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		At, Event, Label, Message, Deadline, Error, By string
		Grace                                          float64 `json:"grace_ms"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	const utc = "2026-11-25T22:00:00Z"
	if got.At != utc || got.Deadline != utc || got.Event != "drain" || got.Label != "" || got.Message != "drain started" || got.Grace != 1500 {
		t.Errorf("got %s; want the line of the drain, times in UTC and 1500 ms", b)
	}
	if !strings.Contains(got.Error, "way") || strings.ContainsRune(got.Error, '\x1b') {
		t.Errorf("got the error %q; want its text, printable", got.Error)
	}
	if strings.ContainsRune(got.By, '\n') || len(got.By) > maxField+8 {
		t.Errorf("got %d bytes of by; want a line of %d at most", len(got.By), maxField)
	}
}
