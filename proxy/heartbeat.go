package proxy

import "context"

// Heartbeat returns nil when every shard has turned its loop, which it waits
// for, as it does for Serve to begin. It returns ErrClosed when Serve has
// ended, and the cause of ctx's end when a shard does not answer by then.
func (p *Proxy) Heartbeat(ctx context.Context) error {
	select {
	case <-p.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	beats := make(chan struct{}, len(p.shards))
	for _, s := range p.shards {
		beat := func() (more bool) {
			beats <- struct{}{}
			return false
		}
		if !s.mail.post(beat) {
			return ErrClosed
		}
	}
	for range p.shards {
		select {
		case <-beats:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
