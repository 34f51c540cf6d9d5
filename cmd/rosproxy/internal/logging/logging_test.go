package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestLogLineHasTheContractsFields(t *testing.T) {
	var b bytes.Buffer
	log, stop := Start(zerolog.InfoLevel, "", &b)
	log.Info().Str("component", "main").Msg("hello")
	stop()
	for _, field := range []string{`"level":"info"`, `"component":"main"`, `"message":"hello"`, `"time":"`} {
		if !strings.Contains(b.String(), field) {
			t.Errorf("got %s; want %s in it", b.String(), field)
		}
	}
	_, stamp, _ := strings.Cut(b.String(), `"time":"`)
	if _, err := time.Parse(time.RFC3339Nano, stamp[:strings.Index(stamp, `"`)]); err != nil {
		t.Errorf("time: %v", err)
	}
	b.Reset()
	log, stop = Start(zerolog.InfoLevel, "console", &b)
	log.Info().Str("component", "main").Msg("hello")
	stop()
	if !strings.Contains(b.String(), "INF hello component=main") {
		t.Errorf("got %q; want a line for people", b.String())
	}
}

// blockedWriter writes once it is released.
type blockedWriter struct {
	bytes.Buffer
	release chan struct{}
}

func (w *blockedWriter) Write(b []byte) (int, error) {
	<-w.release
	return w.Buffer.Write(b)
}

// TestOldestLinesAreDroppedAndCounted: what happened last is what somebody
// looks for.
func TestOldestLinesAreDroppedAndCounted(t *testing.T) {
	const lines = 2 * queueLength
	w := &blockedWriter{release: make(chan struct{})}
	log, stop := Start(zerolog.InfoLevel, "", w)
	for i := range lines {
		log.Info().Int("line", i).Msg("line")
	}
	close(w.release)
	stop()
	var got []int
	missed := 0
	for text := range strings.Lines(w.String()) {
		var l struct{ Line, Missed *int }
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if l.Missed != nil {
			missed += *l.Missed
		} else {
			got = append(got, *l.Line)
		}
	}
	if len(got)+missed != lines || missed == 0 {
		t.Errorf("got %d lines and %d counted as dropped; want %d together", len(got), missed, lines)
	}
	if !slices.IsSorted(got) || got[len(got)-1] != lines-1 {
		t.Errorf("got the last line %d; want %d, and all in their order", got[len(got)-1], lines-1)
	}
	// The newest, but for the few that were on their way when the reader got stuck.
	if newest := got[len(got)-queueLength:]; newest[0] != lines-queueLength {
		t.Errorf("got the newest lines from %d on; want all from %d on", newest[0], lines-queueLength)
	}
}

// The order of lines is theirs, and the last one before the end is there:
// zerolog's diode lost one in some ten thousand.
func TestNoLineIsLostAtTheEnd(t *testing.T) {
	const runs, lines = 2000, 3
	for range runs {
		var b bytes.Buffer
		log, stop := Start(zerolog.InfoLevel, "", &b)
		for i := range lines {
			log.Info().Int("line", i).Msg("")
		}
		stop()
		got := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(got) != lines {
			t.Fatalf("got %d lines; want %d", len(got), lines)
		}
		for i, line := range got {
			if want := fmt.Sprintf(`"line":%d`, i); !strings.Contains(line, want) {
				t.Fatalf("line %d: got %s; want %s in it", i, line, want)
			}
		}
	}
}
