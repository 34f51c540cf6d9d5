package sock

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KillTimer ends this process at a time since boot (CLOCK_BOOTTIME), by a SIGKILL
// of the kernel's: also while the process is stopped, or the machine is suspended
// and goes on.
type KillTimer struct{ id int32 }

// sigevent is struct sigevent of <asm-generic/siginfo.h>, 64 bytes on 64-bit machines.
type sigevent struct {
	value  uintptr
	signal int32
	notify int32
	_      [48]byte
}

const (
	notifyBySignal = 0 // SIGEV_SIGNAL
	absoluteTime   = 1 // TIMER_ABSTIME
)

// NewKillTimer makes a timer that is not armed (timer_create(2)).
func NewKillTimer() (*KillTimer, error) {
	e := sigevent{signal: int32(unix.SIGKILL), notify: notifyBySignal}
	var t KillTimer
	if _, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&t.id))); errno != 0 {
		return nil, fmt.Errorf("create a timer: %w", errno)
	}
	return &t, nil
}

// Arm sets the time, in nanoseconds since boot; 0 disarms. One that has passed is
// the end at once (timer_settime(2)).
func (t *KillTimer) Arm(at int64) error {
	var spec struct{ interval, value unix.Timespec }
	if at != 0 {
		spec.value = unix.NsecToTimespec(at)
	}
	if _, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(t.id), absoluteTime, uintptr(unsafe.Pointer(&spec)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("arm a timer: %w", errno)
	}
	return nil
}

// Delete disarms the timer and gives it back (timer_delete(2)).
func (t *KillTimer) Delete() {
	_, _, _ = unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(t.id), 0, 0) // fails only for a timer that there is not
}
