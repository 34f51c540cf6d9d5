package proxy

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// clock tells the time of CLOCK_BOOTTIME, in nanoseconds: unlike Go's monotonic
// clock it goes on while the machine is suspended.
//
// To read that clock is a system call of 230 ns. time.Now needs none, and its
// wall clock goes on in a suspended machine as well: only when that has left the
// monotonic clock is CLOCK_BOOTTIME read again. Any goroutine may use it.
type clock struct {
	base  time.Time
	boot  int64        // CLOCK_BOOTTIME at base
	slept atomic.Int64 // what the monotonic clock has missed since base
	wall  atomic.Int64 // how far the wall clock was ahead of the monotonic one when slept was read
}

// never is later than every time of the clock.
const never = math.MaxInt64

// wallTolerance is how far the wall clock may leave the monotonic one before
// CLOCK_BOOTTIME is read again: NTP slews it by less than that a minute.
const wallTolerance = 50 * time.Millisecond

func newClock() *clock {
	c := &clock{base: time.Now(), boot: sock.BootTime()}
	c.wall.Store(c.base.UnixNano())
	return c
}

func (c *clock) now() int64 {
	t := time.Now()
	passed := int64(t.Sub(c.base))
	wall := t.UnixNano() - passed
	if ahead := wall - c.wall.Load(); ahead > int64(wallTolerance) || ahead < -int64(wallTolerance) {
		c.slept.Store(sock.BootTime() - c.boot - int64(time.Since(c.base)))
		c.wall.Store(wall)
	}
	return c.boot + passed + c.slept.Load()
}

// stamp is a time of the clock in 32 bits: in milliseconds, rounded up, without
// what is beyond 2^32 of them. It names a time of the last 49 days.
type stamp uint32

func stampOf(at int64) stamp {
	return stamp((at + int64(time.Millisecond) - 1) / int64(time.Millisecond))
}

// asOf is the time that s names, now being a time that is not earlier.
func (s stamp) asOf(now int64) int64 {
	latest := (now + int64(time.Millisecond) - 1) / int64(time.Millisecond)
	return (latest - int64(stamp(latest)-s)) * int64(time.Millisecond)
}
