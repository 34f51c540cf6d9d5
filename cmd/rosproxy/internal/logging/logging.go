// Package logging makes the program's logger: zerolog behind a queue, so that a
// stuck reader of the log holds up nobody who writes to it.
package logging

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Start makes a logger that writes to w what is at least of level; the packages
// add their component. format is json or console; empty: console on a
// terminal, else json. It never blocks: a stuck reader must hold up neither a
// shard nor a failover. stop writes what is left, if the reader lets it, and
// ends the logger.
func Start(level zerolog.Level, format string, w io.Writer) (log zerolog.Logger, stop func()) {
	terminal := isTerminal(w)
	forPeople := format == "console" || format == "" && terminal
	newTo := func(w io.Writer) zerolog.Logger { return newLogger(level, w, forPeople, terminal) }
	direct := newTo(w)
	queue := newLineQueue(w, func(missed int64) {
		direct.Warn().Str("component", "log").Int64("missed", missed).Msg("log lines dropped: their reader does not keep up")
	})
	return newTo(queue), queue.close
}

// newLogger makes a logger that writes to w, for people or as JSON; colours are for a terminal.
func newLogger(level zerolog.Level, w io.Writer, forPeople, terminal bool) zerolog.Logger {
	if forPeople {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !terminal, TimeFormat: timeFormat}
	}
	return zerolog.New(w).Level(level).Hook(timestamp{})
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// timestamp gives each line its time. zerolog's own takes its form from a
// variable of the whole process, which tests that run side by side share.
type timestamp struct{}

func (timestamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(timeFormat))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
