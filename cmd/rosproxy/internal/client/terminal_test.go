package client

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// terminal is both ends of a terminal: what is written to one is read from the other.
func terminal(t *testing.T) (far, near *os.File) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be had: %v", err)
	}
	t.Cleanup(func() { far.Close() })
	n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	near, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be had: %v", err)
	}
	t.Cleanup(func() { near.Close() })
	return far, near
}

// readUntil reads what was written to a terminal, to the last of it.
func readUntil(t *testing.T, far *os.File, last string) string {
	t.Helper()
	if err := far.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for buffer := make([]byte, 4096); !strings.HasSuffix(string(got), last); {
		n, err := far.Read(buffer)
		if got = append(got, buffer[:n]...); err != nil {
			t.Fatalf("read %q, %v; want %q at its end", got, err, last)
		}
	}
	return string(got)
}

// onTerminal is what a run of status shows on a terminal.
func onTerminal(t *testing.T, env ...string) string {
	t.Helper()
	far, near := terminal(t)
	c := config.Client{Admin: []config.Endpoint{says(t, healthy)}}
	if code := Run(t.Context(), config.Status, c, Process{Stdout: near, Stderr: near, Env: env}); code != exitDone {
		t.Errorf("got exit code %d; want 0", code)
	}
	return readUntil(t, far, "\n")
}

func TestColoursAreForTerminalsThatAreToHaveThem(t *testing.T) {
	for _, c := range []struct {
		env    []string
		colour bool
	}{
		{nil, true},
		{[]string{"TERM=xterm"}, true},
		{[]string{"NO_COLOR="}, true}, // as no-color.org has it
		{[]string{"NO_COLOR=1"}, false},
		{[]string{"TERM=dumb"}, false},
	} {
		if got := onTerminal(t, c.env...); strings.Contains(got, "\x1b[32mserving,\x1b[0m") != c.colour || strings.Contains(got, "\x1b") != c.colour {
			t.Errorf("%q: got %q; want colours: %v", c.env, got, c.colour)
		}
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	far, near := terminal(t)
	if err := unix.IoctlSetWinsize(int(near.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 30}); err != nil {
		t.Fatal(err)
	}
	p := newProgress(near, nil, false)
	for n := range 3 {
		p.show(fmt.Sprintf("draining: %d live of a rather long text \x1b", n))
		p.show(fmt.Sprintf("draining: %d live of a rather long text \x1b", n))
	}
	p.end()
	p.end()
	fmt.Fprint(near, "next")
	got := readUntil(t, far, "next")
	if strings.Contains(got, "\n") || strings.Count(got, "\r\x1b[K") != 4 || !strings.HasSuffix(got, "\r\x1b[Knext") {
		t.Errorf("got %q; want three texts in one line, and that wiped", got)
	}
	for part := range strings.SplitSeq(got, "\r\x1b[K") {
		if len([]rune(part)) > 29 || strings.Contains(part, "\x1b") {
			t.Errorf("got %q; want what fits in 30 columns", part)
		}
	}
}

func TestProgressInALogIsALineNowAndThen(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, nil, false)
	for n := range 3 {
		p.show(fmt.Sprint(n, " live"))
	}
	p.shown = p.shown.Add(-2 * quietFor)
	p.show("3 live")
	p.end()
	if got := b.String(); got != "0 live\n3 live\n" {
		t.Errorf("got %q; want the first, and one that comes later", got)
	}
}
