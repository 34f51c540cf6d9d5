package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/bench/faults/internal/run"
)

// report is a table as a document: what ran where, when, and how to run it again.
func report(t *run.Table) string {
	var text strings.Builder
	fmt.Fprintf(&text, `# Failovers under faults

%d failovers in %d rounds of one fault each, %d violations. %d packets to masters were looked at.

    make faults FAULTS_FLAGS='%s'

%s; %s; %v, with what else ran on the machine. The seed is %d.

`, t.Failovers(), t.Rounds(), len(t.Violations()), t.Packets(), strings.Join(os.Args[1:], " "),
		machine(), time.Now().UTC().Format("2006-01-02"), t.Took.Round(time.Second), t.Seed)
	text.WriteString(explained)
	text.WriteString(t.Markdown())
	for _, v := range t.Violations() {
		fmt.Fprintf(&text, "\nViolation: %s\n", v)
	}
	return text.String()
}

// explained is what the columns mean.
const explained = `Three instances of rosproxy follow three servers of Consul: one by an agent, one by the servers, one by both. Three labels fail over in
each round, of which one follows tags, one a leader key, and one a leader key with fence reports (TTL 8 s) and a new master that waits for
await-fence. Through each instance each label has two clients that keep their connection, one that opens one for each request, and one that
always has bytes under way. Masters that are deposed are not told, and go on to acknowledge. The new master of the first two labels
answers when every instance that runs has let go of the old one; where an instance cannot hear of Consul, which keeps the first label
with the old master, the fault is healed before.

- **failovers**: of a label, obeyed by all instances; **cut**: connections that the instances have reset for them; **carried**: clients that waited
  and went to the new master
- **await-fence**: the longest that it took
- **longest gap**: that any client went without an answer, the time of the election and of the harness included
- **violations**: a packet of an instance to the old master after its fence, or after await-fence; a socket to it; an instance that disagrees; a connection
  ended without need; an acknowledged write that is lost; a history that is not linearizable; descriptors, goroutines or memory that do not
  come back; log, metrics and /status that disagree

`

// machine is what this ran on.
func machine() string {
	model := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "Linux"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		kernel += " " + release
	}
	return fmt.Sprintf("%d CPUs (%s), %s", runtime.NumCPU(), model, kernel)
}
