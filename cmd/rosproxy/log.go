package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// logConfig says what is logged and how.
type logConfig struct {
	Level  zerolog.Level
	Format string // json or console; empty: console on a terminal, else json
}

func parseLevel(level string) (zerolog.Level, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return l, fmt.Errorf("parse log level: %w", err)
	}
	return l, nil
}

// startLog makes the logger of the program; the packages add their component.
// It never blocks: a stuck reader must hold up neither a shard nor a failover.
// stop writes what is left, if the reader lets it, and ends the logger.
func startLog(c logConfig, w io.Writer) (log zerolog.Logger, stop func()) {
	terminal := isTerminal(w)
	direct := newLogger(c, w, terminal)
	queue := newLineQueue(w, func(missed int64) {
		direct.Warn().Str("component", "log").Int64("missed", missed).Msg("log lines dropped: their reader does not keep up")
	})
	return newLogger(c, queue, terminal), queue.close
}

// newLogger makes a logger that writes to w, for a person if terminal says so.
func newLogger(c logConfig, w io.Writer, terminal bool) zerolog.Logger {
	if c.Format == "console" || c.Format == "" && terminal {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !terminal, TimeFormat: logTime}
	}
	return zerolog.New(w).Level(c.Level).Hook(stamp{})
}

// logTime is RFC 3339 with milliseconds.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// stamp gives each line its time. zerolog's own stamp takes its form from a
// variable of the whole process, which tests that run side by side share.
type stamp struct{}

func (stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTime))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
