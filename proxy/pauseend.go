package proxy

import (
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// Resume ends label's pause, if there is one. by: only if it is that one's;
// empty: whoever's. A *PausedError says that it is somebody else's.
func (p *Proxy) Resume(label, by string) (err error) {
	lb := p.find(label)
	if lb == nil {
		return ErrUnknownLabel
	}
	p.endPause(lb, resumedByOrder, func(s pausing.State) pausing.State {
		next, e := s.Resume(by, p.now())
		if err = nil; e != nil {
			err = p.pauseError(s, e)
		}
		return next
	})
	return err
}

// electedInPause ends lb's pause if m is another master than the one before it.
func (p *Proxy) electedInPause(lb *label, m netip.AddrPort) {
	p.endPause(lb, resumedByMaster, func(s pausing.State) pausing.State { return s.Elected(m, p.now()) })
}

// endPause does what follows when end has ended lb's pause. Its clients wait for
// Confirm, where masters are confirmed.
func (p *Proxy) endPause(lb *label, why string, end func(pausing.State) pausing.State) {
	before, after := lb.changePause(end)
	if !before.Lasts() || after.Lasts() {
		return
	}
	p.tell(zerolog.InfoLevel, eventResume, "resumed",
		"label", lb.name, "by", before.By, "reason", why, "held", lb.held.Load(), "paused_ms", milliseconds(after.Ended-before.Began))
	if lb.revalidate == 0 {
		p.confirmPause(lb, after.Ended+1)
		return
	}
	p.broadcast(func(s *shard) { s.rearmHeld(lb) })
	p.wantConfirm()
	p.wakePauseWatch()
}

// confirmPause takes that a read that began at begun has named lb's master: the
// clients of a pause that had ended before are let go.
func (p *Proxy) confirmPause(lb *label, begun time.Duration) {
	if s := lb.pauseState(); s.Confirmed(begun) == s {
		return
	}
	lb.resumed.Store(p.clock.now())
	lb.pace.expect()
	lb.changePause(func(s pausing.State) pausing.State { return s.Confirmed(begun) })
	p.broadcast(func(s *shard) { s.resume(lb) }) // whether or not: shards are expected
}

// rearmHeld gives lb's clients the hold timeout that they have after a pause.
func (s *shard) rearmHeld(lb *label) {
	s.conns.all(func(c *conn) {
		if c.label == lb && c.state == held {
			s.timers.arm(c.index, c.holdDeadline(s.loop))
		}
	})
}

func (p *Proxy) wantConfirm() {
	if p.config.OnPause != nil {
		p.config.OnPause()
	}
}
