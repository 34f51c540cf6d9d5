package patroni

import (
	"context"
	"fmt"
	"time"
)

// await tries until try succeeds or ctx ends.
func await(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, waiting for %s; last seen: %w", context.Cause(ctx), what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
