// Package clock tells time where package time does not suffice.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is the time since the machine was started, as CLOCK_BOOTTIME
// counts it: it goes on while this process is stopped and while the machine is
// suspended, which Go's monotonic clock does not.
func SinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // every Linux that Go runs on has it
	}
	return time.Duration(t.Nano())
}
