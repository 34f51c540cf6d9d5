package proxy

import (
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// dialFailureCalls of Config.OnDialFailure for one master are at least this far apart.
	dialFailureCalls = time.Second
	// unreachableWarnings of one master are at least this far apart: where some
	// dials fail and others do not, trouble begins and ends all the time.
	unreachableWarnings = 10 * time.Second
)

// notReached takes note of a failed dial: the log says so once until one succeeds.
func (e *epoch) notReached(l *loop, of *label, err error) {
	now := l.clock.now()
	e.trouble.began.CompareAndSwap(0, now)
	if last := e.trouble.lastWarn.Load(); !e.trouble.warned.Load() && (last == 0 || now-last >= int64(unreachableWarnings)) && e.trouble.lastWarn.CompareAndSwap(last, now) {
		e.trouble.warned.Store(true)
		l.log.Warn().Str("label", of.name).Str("master", nameOf(e.address)).Err(err).Str("errno", sock.ErrorName(err)).Msg("master cannot be reached")
	}
	lastCall := e.trouble.lastCall.Load()
	if call := l.config.OnDialFailure; call != nil && now-lastCall >= int64(dialFailureCalls) && e.trouble.lastCall.CompareAndSwap(lastCall, now) {
		call(of.name, err)
	}
}

// reached ends the trouble, if there was any.
func (e *epoch) reached(l *loop, of *label) {
	if e.trouble.began.Load() != 0 {
		e.endTrouble(l.shared, of, "master is reached again")
	}
}

// endTrouble says that the trouble is over, if that it began was said: the
// master is reached, or is master no more.
func (e *epoch) endTrouble(g *shared, of *label, why string) {
	if began := e.trouble.began.Swap(0); began != 0 && e.trouble.warned.Swap(false) {
		g.log.Info().Str("label", of.name).Str("master", nameOf(e.address)).
			Float64("trouble_ms", milliseconds(time.Duration(g.clock.now()-began))).Msg(why)
	}
}
