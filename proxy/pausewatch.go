package proxy

import (
	"context"
	"time"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

const (
	// pauseStep is how often it is looked which connections of a paused label
	// are quiet.
	pauseStep = 50 * time.Millisecond
	// pausePoll bounds the wait for the end of a pause: timers stand still in a
	// suspended machine, its time does not.
	pausePoll = time.Second
	// pauseCloseTime is what the peers of a connection that was closed for a
	// pause have to end.
	pauseCloseTime = time.Second
	// Each pauseTalk the silence halves that is enough, down to pauseTalks times.
	pauseTalk  = time.Second
	pauseTalks = 5
	// unconfirmedWarn is after how long a warning says that the clients of a
	// pause that is over still wait.
	unconfirmedWarn = 3 * time.Second
)

// wakePauseWatch has watchPauses look at once.
func (p *Proxy) wakePauseWatch() {
	select {
	case p.pauses <- struct{}{}:
	default:
	}
}

// watchPauses ends pauses whose time is over, and closes connections for those
// that want it, until ctx ends.
func (p *Proxy) watchPauses(ctx context.Context) {
	warned := make([]time.Duration, len(p.labels)) // by label: when the pause had ended of which it was warned last
	for {
		var due <-chan time.Time
		if wait, some := p.lookAtPauses(warned); some {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.pauses:
		case <-due:
		}
	}
}

// lookAtPauses does what is due, and answers when something is next; false: there is no pause.
func (p *Proxy) lookAtPauses(warned []time.Duration) (wait time.Duration, some bool) {
	wait = pausePoll
	for i, lb := range p.labels {
		p.endPause(lb, resumedByEnd, func(s pausing.State) pausing.State { return s.At(p.now()) })
		s, now := lb.pauseState(), p.now()
		switch {
		case !s.Holds():
			continue
		case s.Lasts():
			wait = min(wait, s.Until-now)
			if s.CloseQuiet && lb.live.Load() > 0 {
				wait = min(wait, pauseStep)
				p.closeForPause(lb, now-s.Began)
			}
		case warned[i] != s.Ended && now-s.Ended > unconfirmedWarn:
			warned[i] = s.Ended
			p.log.Warn().Str("label", lb.name).Int64("held", lb.held.Load()).
				Msg("the pause is over, but no read has named the master since: clients are held")
		}
		some = true
	}
	return wait, some
}

// closeForPause closes lb's connections that are quiet. The longer the pause
// lasts, the shorter a silence is enough: one that always talks is closed as well.
func (p *Proxy) closeForPause(lb *label, lasted time.Duration) {
	quiet := silence >> min(lasted/pauseTalk, pauseTalks)
	until := p.clock.now() + int64(pauseCloseTime)
	p.broadcastTask(func(s *shard) task {
		at := 0
		return func() (more bool) {
			at = s.conns.some(at, slotsPerPiece, func(c *conn) {
				if c.label == lb && c.state == relaying && lb.pauseState().Lasts() {
					c.closeForPause(s.loop, quiet, until)
				}
			})
			return at < s.conns.size()
		}
	})
}
