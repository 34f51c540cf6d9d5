package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// screen is what the spectator sees: lines that stay, and on a terminal one
// live line below them. Its methods may be called by several goroutines.
type screen struct {
	out   io.Writer
	live  bool // out is a terminal
	color bool

	mu   sync.Mutex
	line string // the live line that stands there now
}

func newScreen(f *os.File) *screen {
	tty := isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	return &screen{out: f, live: tty, color: tty && os.Getenv("NO_COLOR") == ""}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// print writes lines that stay.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		io.WriteString(s.out, "\r\x1b[K") //nolint:errcheck // a demo without a screen has nobody to tell
	}
	fmt.Fprintln(s.out, text)
	io.WriteString(s.out, s.line) //nolint:errcheck // as above
}

// status replaces the live line; without a terminal there is none.
func (s *screen) status(text string) {
	if !s.live {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = text
	io.WriteString(s.out, "\r\x1b[K"+text) //nolint:errcheck // as in print
}

// close removes the live line.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		s.line = ""
		io.WriteString(s.out, "\r\x1b[K") //nolint:errcheck // as in print
	}
}

// title begins an act, with a few words on what to look for.
func (s *screen) title(title string, words ...string) {
	s.print("\n" + s.paint(bold, title))
	for _, w := range words {
		s.print(s.paint(dim, "   "+w))
	}
}

// event tells what happened so long after the act's beginning.
func (s *screen) event(after time.Duration, format string, args ...any) {
	s.print(s.paint(cyan, fmt.Sprintf("%10s", "+"+thousands(int(max(0, after).Milliseconds()))+" ms")) + "  " + fmt.Sprintf(format, args...))
}

// note says something that has no time of its own.
func (s *screen) note(format string, args ...any) {
	s.print(strings.Repeat(" ", 12) + s.paint(dim, fmt.Sprintf(format, args...)))
}

// clock writes a duration for people: "840 ms", "2,310 ms".
func clock(d time.Duration) string {
	if d > 0 && d < time.Millisecond {
		return "less than 1 ms"
	}
	return thousands(int(max(0, d).Milliseconds())) + " ms"
}

// thousands writes 31204 as "31,204".
func thousands(n int) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// plural writes "1 connection", "2 connections".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return thousands(n) + " " + word + "s"
}
