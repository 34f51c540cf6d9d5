package proc

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestParentIsFoundBehindAnyProgramName(t *testing.T) {
	for _, c := range []struct {
		stat string
		want int
	}{
		{"17 (nginx) S 3 17 17 0", 3},
		{"17 (a) S 9 (b)) R 4 17 17 0", 4},
	} {
		if got, err := parentIn([]byte(c.stat)); got != c.want || err != nil {
			t.Errorf("parent in %q: got %d, %v; want %d", c.stat, got, err, c.want)
		}
	}
	if got, err := parentIn([]byte("17 (x) S")); err == nil {
		t.Errorf("parent in a short line: got %d; want an error", got)
	}
}

func TestDescendantsAreOfEveryDegree(t *testing.T) {
	got := descendants(10, map[int]int{10: 1, 11: 10, 12: 11, 13: 10, 14: 2})
	slices.Sort(got)
	if want := []int{10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("descendants: got %v; want %v", got, want)
	}
}

func TestWaitIsTheSecondFieldOfSchedstat(t *testing.T) {
	if got, err := waitIn([]byte("880123 997456 10599\n")); got != 997456 || err != nil {
		t.Errorf("wait: got %v, %v; want 997.456us", got, err)
	}
	for _, bad := range []string{"", "1 2", "1 x 3"} {
		if got, err := waitIn([]byte(bad)); err == nil {
			t.Errorf("wait in %q: got %v; want an error", bad, got)
		}
	}
}

func TestResidentMemoryIsInBytes(t *testing.T) {
	got, err := residentIn([]byte("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\n"))
	if got != 1234<<10 || err != nil {
		t.Errorf("resident: got %d, %v; want %d", got, err, 1234<<10)
	}
	if got, err := residentIn([]byte("Name:\tx\n")); err == nil {
		t.Errorf("resident of a kernel thread: got %d; want an error", got)
	}
}

func TestReceivedIsRchar(t *testing.T) {
	got, err := receivedIn([]byte("rchar: 6976\nwchar: 12\nsyscr: 10\n"))
	if got != 6976 || err != nil {
		t.Errorf("received: got %d, %v; want 6976", got, err)
	}
	if got, err := receivedIn([]byte("wchar: 12\n")); err == nil {
		t.Errorf("received without rchar: got %d; want an error", got)
	}
}

// What comes by a socket must be counted, since that is what it is read for.
func TestReceivedCountsSockets(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := &Process{pids: []int{os.Getpid()}}
	before, err := own.Received()
	if err != nil {
		t.Fatal(err)
	}
	const size = 4 << 20
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write(make([]byte, size)) // the reader would say so
			c.Close()
		}
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Fatalf("read: got %d bytes, %v; want %d", n, err, size)
	}
	after, err := own.Received()
	if got := after - before; got < size || err != nil {
		t.Errorf("received: got %d, %v; want %d at least", got, err, size)
	}
}

// A shell that burns CPU in a child: its time must be counted, and that of a
// process that sleeps must not.
func TestCPUOfAChildIsCounted(t *testing.T) {
	busy := start(t, "sh", "-c", "(while :; do :; done) & echo on; wait")
	idle := start(t, "sleep", "600")
	await(t, "the shell has a child", func() bool {
		return tree(t, busy) == 2
	})
	tree(t, idle)
	await(t, "20 ms of CPU are counted", func() bool { return cpu(t, busy) > 20*time.Millisecond })
	if got := cpu(t, idle); got > 15*time.Millisecond {
		t.Errorf("CPU of a process that sleeps: got %v; want next to nothing", got)
	}
	if n, err := idle.Descriptors(); n < 3 || err != nil {
		t.Errorf("descriptors: got %d, %v; want at least 3", n, err)
	}
	if n, err := idle.Memory(); n < 4096 || err != nil {
		t.Errorf("memory: got %d, %v; want a page at least", n, err)
	}
}

func TestStopEndsTheChildrenToo(t *testing.T) {
	p := start(t, "sh", "-c", "sleep 600 & wait")
	await(t, "the shell has a child", func() bool {
		return tree(t, p) == 2
	})
	child := p.pids[1]
	p.Stop()
	await(t, "the child is gone", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		return err != nil || slices.Contains([]byte("ZX"), stat[slices.Index(stat, ')')+2])
	})
}

func start(t *testing.T, name string, args ...string) *Process {
	t.Helper()
	p, err := Start(Options{Log: filepath.Join(t.TempDir(), "log")}, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func tree(t *testing.T, p *Process) int {
	t.Helper()
	n, err := p.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func cpu(t *testing.T, p *Process) time.Duration {
	t.Helper()
	d, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
