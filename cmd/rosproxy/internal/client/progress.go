package client

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress shows how a wait goes on: on a terminal in one line that changes in
// place, else in a line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	off      bool // a program reads the answer
	last     string
	shown    time.Time
	dirty    bool // the line on the terminal is to be wiped
}

// quietFor is between two lines where there is no terminal.
const quietFor = 5 * time.Second

func newProgress(w io.Writer, env []string, off bool) *progress {
	return &progress{w: w, terminal: isTerminal(w, env), off: off}
}

// show shows a text, which may be shortened.
func (p *progress) show(s string) {
	now := time.Now()
	switch s = printable(s); {
	case p.off || s == p.last:
		return
	case p.terminal:
		fmt.Fprint(p.w, "\r\x1b[K", shortened(s, p.room()))
		p.dirty = true
	case now.Sub(p.shown) < quietFor:
		return
	default:
		fmt.Fprintln(p.w, s)
	}
	p.last, p.shown = s, now
}

// end makes room for a line of something else.
func (p *progress) end() {
	if p.dirty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.dirty, p.last = false, ""
}

// room is what fits in a line of the terminal.
func (p *progress) room() int {
	size, err := unix.IoctlGetWinsize(int(p.w.(*os.File).Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < 20 {
		return 79
	}
	return int(size.Col) - 1
}
