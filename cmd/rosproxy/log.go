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

// newLogger makes the logger of the program; the packages add their component.
func newLogger(c logConfig, w io.Writer) zerolog.Logger {
	if c.Format == "console" || c.Format == "" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !isTerminal(w), TimeFormat: logTime}
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
