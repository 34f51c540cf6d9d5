package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// manager is systemd, or whoever else listens at NOTIFY_SOCKET, as this process
// speaks to it: sd_notify(3).
type manager struct {
	send func(state string) error // nil: nobody listens
	log  zerolog.Logger

	mu      sync.Mutex
	silent  bool // a successor speaks
	failed  bool // a word could not be sent, which has been logged
	status  string
	trouble string // what went wrong last; part of the status
}

const (
	statusEvery = time.Second // how often the status is looked at
	maxStatus   = 1000        // bytes; systemd reads 4096 of a message
)

// say sends lines in one message.
func (m *manager) say(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sayLocked(lines...)
}

func (m *manager) sayLocked(lines ...string) {
	if m.send == nil || m.silent {
		return
	}
	if err := m.send(strings.Join(lines, "\n")); err != nil && !m.failed {
		m.failed = true
		m.log.Warn().Err(err).Msg("service manager not reached")
	}
}

// reloading says that an upgrade began; systemd then waits for succeeded's
// process, or for reloaded.
func (m *manager) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // never fails with this clock
	m.say(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// reloaded says that this process goes on, and what the trouble was.
func (m *manager) reloaded(trouble string) {
	m.mu.Lock()
	m.trouble = trouble
	m.mu.Unlock()
	m.say(daemon.SdNotifyReady)
}

// succeeded says that the process pid is the service now. From here on only
// that speaks: what becomes of this one is not the service's state any more.
func (m *manager) succeeded(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sayLocked(fmt.Sprintf("MAINPID=%d", pid))
	m.silent = true
}

// show says the status, if it is news.
func (m *manager) show(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trouble != "" {
		status += "; " + m.trouble
	}
	status = shorten(oneLine(status), maxStatus)
	if status != m.status {
		m.status = status
		m.sayLocked("STATUS=" + status)
	}
}

// run tells the manager how the process fares, from settled until ctx ends.
func (m *manager) run(ctx context.Context, settled, exiting <-chan struct{}, status func() string) error {
	if m.send == nil {
		return nil
	}
	select {
	case <-settled:
	case <-ctx.Done():
		return nil
	}
	m.say(daemon.SdNotifyReady)
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		m.show(status())
		select {
		case <-tick.C:
		case <-exiting:
			exiting = nil
			m.say(daemon.SdNotifyStopping)
		case <-ctx.Done():
			return nil
		}
	}
}

// watchdog tells the manager that the process is well, twice in each interval,
// as long as heartbeat answers in that time: it is to be ended when it is not.
func (m *manager) watchdog(ctx context.Context, settled <-chan struct{}, interval time.Duration, heartbeat func(context.Context) error) error {
	if m.send == nil || interval <= 0 {
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
			m.say(daemon.SdNotifyWatchdog)
		case !stuck:
			m.log.Error().Err(err).Msg("an event loop does not answer: nothing is said to the watchdog")
		}
		stuck = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// summary is the status that an operator sees.
func (a *admin) summary() string {
	s := a.machine.State()
	if s.Phase != drain.Serving {
		return fmt.Sprintf("%s: %d live", s.Phase, s.Active)
	}
	var labels []string
	states := a.labelStates()
	for _, l := range a.data.Snapshot().Labels {
		labels = append(labels, l.Label+" "+masterOr(l, string(states[l.Label])))
	}
	return "serving: " + strings.Join(labels, ", ")
}

func masterOr(l proxy.LabelSnapshot, state string) string {
	if l.Master.Address.IsValid() {
		return l.Master.Address.String()
	}
	return state
}
