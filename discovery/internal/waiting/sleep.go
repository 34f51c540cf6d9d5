// Package waiting waits: for a time or the end of a context, between retries,
// and for a wish of another goroutine.
package waiting

import (
	"context"
	"time"
)

// Sleep waits for d, and reports whether it has passed: false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
