package logging

import (
	"bytes"
	"fmt"
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

func TestDroppedLogLinesAreCounted(t *testing.T) {
	w := &blockedWriter{release: make(chan struct{})}
	log, stop := Start(zerolog.InfoLevel, "", w)
	for range 2 * queueLength {
		log.Info().Msg("line")
	}
	close(w.release)
	stop()
	if !strings.Contains(w.String(), `"missed":`) {
		t.Errorf("%d lines for a stuck reader of %d: got no word of those dropped", 2*queueLength, queueLength)
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
