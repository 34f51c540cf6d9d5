package systemd

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog tells the manager that the process is well, twice in each interval,
// as long as heartbeat answers in that time: it is to be ended when it is not.
func (n *Notifier) Watchdog(ctx context.Context, settled <-chan struct{}, interval time.Duration, heartbeat func(context.Context) error) error {
	if n.send == nil || interval <= 0 {
		return nil
	}
	select {
	case <-settled:
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for stuck := false; ; {
		beat, cancel := context.WithTimeout(ctx, interval/2)
		err := heartbeat(beat)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			n.say(daemon.SdNotifyWatchdog)
		case !stuck:
			n.log.Error().Err(err).Msg("an event loop does not answer: nothing is said to the watchdog")
		}
		stuck = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
