package fleet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
)

// process is a program that runs on a host below a reaper. What it starts in
// its place, and leaves behind, is the reaper's too.
type process struct {
	*reaper.Process
	t   *testing.T
	log string // file with what all of them said
}

// start starts a program on the host. It is ended with the test.
func (h *host) start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, log: filepath.Join(t.TempDir(), name+".log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	err = h.Do(func() (err error) {
		p.Process, err = reaper.Start(reaper.Command{Args: args, Env: append(testmain.Environment(), "GOMAXPROCS=2"), Log: log})
		return err
	})
	if err != nil {
		t.Fatalf("%s on %s: %v\n%s", name, h.name, err, p.output())
	}
	t.Cleanup(p.stop)
	return p
}

// stop kills what is left, and returns when it is gone.
func (p *process) stop() {
	p.Close()
	if p.t.Failed() {
		p.t.Logf("end of %s, without connections:\n%s", filepath.Base(p.log), tail(withoutConnections(p.output()), 6<<10))
	}
}

// mustRun ends the test when the first process has ended.
func (p *process) mustRun() {
	p.t.Helper()
	if s, ended := p.Status(p.PID); ended {
		p.t.Fatalf("%s ended with %s; want it running:\n%s", filepath.Base(p.log), describe(s), tail(p.output(), 6<<10))
	}
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// withoutConnections leaves out the lines of single connections: a test that
// fails shows those that matter.
func withoutConnections(log string) string {
	if _, rest, ok := strings.Cut(log, "Log data will now stream in"); ok {
		log = rest // Consul's, without its banner
	}
	var text strings.Builder
	for l := range strings.Lines(log) {
		if !strings.Contains(l, `"message":"connection closed"`) {
			text.WriteString(l)
		}
	}
	return text.String()
}

// tail is the end of text, from the beginning of a line on.
func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	_, text, _ = strings.Cut(text[len(text)-most:], "\n")
	return "...\n" + text
}
