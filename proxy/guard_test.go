package proxy

import (
	"reflect"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// TestGuardIsArmedForTheEarliestLeaseUnderWhichSomethingIsOpen, whatever the order
// in which leases change and connections come and go.
func TestGuardIsArmedForTheEarliestLeaseUnderWhichSomethingIsOpen(t *testing.T) {
	timer, err := sock.NewKillTimer()
	if err != nil {
		t.Fatal(err)
	}
	g := &leaseGuard{timer: timer, ends: make([]int64, 3)}
	defer g.close()
	var labels []*label
	for i := range 3 {
		lb := newLabel(i, Listener{}, labelSettings{})
		lb.guard = g
		labels = append(labels, lb)
	}
	far := newClock().now() + 1e15 // nobody is to be killed here
	lease := func(i int, end int64) func() {
		return func() { labels[i].lease.Store(far + end); g.consider(labels[i]) }
	}
	for i, step := range []struct {
		do   func()
		want int64 // after far; 0: not at all
	}{
		{lease(0, 30), 0},
		{labels[0].opened, 30},
		{labels[0].opened, 30},
		{labels[1].opened, 30}, // whose lease has no end
		{lease(1, 20), 20},
		{lease(0, 40), 20},
		{lease(1, 50), 40},
		{labels[0].closed, 40},
		{labels[0].closed, 50},
		{lease(0, 10), 50}, // nothing is open under it
		{lease(2, 5), 50},
		{labels[2].opened, 5},
		{labels[1].closed, 5},
		{labels[2].closed, 0},
	} {
		step.do()
		want := step.want
		if want != 0 {
			want += far
		}
		if g.armed != want {
			t.Fatalf("step %d: got %d; want %d", i, g.armed, want)
		}
		if want != 0 {
			wantTimer(t, timer, want+int64(killAfter)) // a process that runs has that time to cut
		}
	}
}

// wantTimer checks when timer is due.
func wantTimer(t *testing.T, timer *sock.KillTimer, want int64) {
	t.Helper()
	id := reflect.ValueOf(timer).Elem().FieldByName("id").Int()
	var left struct{ interval, value unix.Timespec }
	before := sock.BootTime()
	_, _, errno := unix.Syscall(unix.SYS_TIMER_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&left)), 0)
	after := sock.BootTime()
	if now := want - left.value.Nano(); errno != 0 || now < before || now > after {
		t.Errorf("timer: got %v left, %v; want it due at %d", time.Duration(left.value.Nano()), errno, want)
	}
}
