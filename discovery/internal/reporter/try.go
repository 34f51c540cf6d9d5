package reporter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// Try keeps an entry for a moment, by way of a: what fails then would fail for
// reports. It has no label, so that no election waits for it even if it is left
// behind. Each request may take timeout.
func (r *Reporter) Try(ctx context.Context, a *consul.Client, timeout time.Duration) (err error) {
	c := r.config
	e := fence.Entry{Instance: c.Instance, PID: os.Getpid(), Boot: BootID(), TTL: c.TTL.Seconds(), Labels: map[string]fence.State{}}
	key := fence.Key(c.Prefix, c.Instance, e.PID, newRandom())
	made, err := a.PutKey(ctx, r.dc, key, e.Encode(), 0, timeout)
	switch {
	case err != nil:
		return fmt.Errorf("write a report: %w", err)
	case !made:
		return fmt.Errorf("write a report: somebody else has written %s", text.Quoted(key))
	}
	pair, err := a.ReadKey(ctx, r.dc, key, timeout)
	switch {
	case err != nil:
		return fmt.Errorf("read a report: %w", err)
	case pair == nil || !bytes.Equal(pair.Value, e.Encode()):
		return errors.New("read a report: what was written is not there")
	}
	if made, err = a.DeleteKey(ctx, r.dc, key, pair.ModifyIndex, timeout); err != nil || !made {
		return fmt.Errorf("take a report away: %w", cmp.Or(err, errors.New("somebody else has written it")))
	}
	if _, err := a.ListKeys(ctx, r.dc, c.Prefix+"/", timeout); err != nil {
		return fmt.Errorf("list the reports, as await-fence does: %w", err)
	}
	return nil
}
