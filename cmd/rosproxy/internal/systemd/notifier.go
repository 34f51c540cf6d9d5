// Package systemd tells the service manager how the process fares, as
// sd_notify(3) says.
package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Notifier speaks to systemd, or to whoever else listens at NOTIFY_SOCKET. Its
// methods may be called from any goroutine.
type Notifier struct {
	send func(state string) error // nil: nobody listens
	log  zerolog.Logger

	mu      sync.Mutex
	silent  bool // a successor speaks
	failed  bool // a message could not be sent, which has been logged
	status  string
	trouble string // what went wrong last; part of the status
}

// NewNotifier makes a Notifier that sends its messages by send; nil: there is
// no service manager, and nothing is done.
func NewNotifier(send func(state string) error, log zerolog.Logger) *Notifier {
	return &Notifier{send: send, log: log}
}

const (
	statusEvery = time.Second // how often the status is looked at
	maxStatus   = 1000        // bytes; systemd reads 4096 of a message
)

// say sends lines in one message.
func (n *Notifier) say(lines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sayLocked(lines...)
}

func (n *Notifier) sayLocked(lines ...string) {
	if n.send == nil || n.silent {
		return
	}
	if err := n.send(strings.Join(lines, "\n")); err != nil && !n.failed {
		n.failed = true
		n.log.Warn().Err(err).Msg("service manager not reached")
	}
}

// Reloading says that an upgrade began; systemd then waits for Succeeded's
// process, or for Reloaded.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // never fails with this clock
	n.say(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Reloaded says that this process goes on, and what the trouble was.
func (n *Notifier) Reloaded(trouble string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble = trouble
	n.sayLocked(daemon.SdNotifyReady) // before a status that tells of it
}

// Succeeded says that the process pid is the service now. From here on only
// that speaks: what becomes of this one is not the service's state any more.
func (n *Notifier) Succeeded(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sayLocked(fmt.Sprintf("MAINPID=%d", pid))
	n.silent = true
}

// Reclaimed says that this process is the service again: the one of Succeeded has died.
func (n *Notifier) Reclaimed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = false
	n.status = "" // what was said last is the other's
	n.sayLocked(fmt.Sprintf("MAINPID=%d", os.Getpid()), daemon.SdNotifyReady)
}

// show says the status, if it is news.
func (n *Notifier) show(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.trouble != "" {
		status += "; " + n.trouble
	}
	status = oneLine(status)
	if status != n.status {
		n.status = status
		n.sayLocked("STATUS=" + status)
	}
}

// oneLine is s without control characters, of at most maxStatus bytes of UTF-8.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxStatus)], "")
}

// Run tells the manager how the process fares, from settled until ctx ends.
func (n *Notifier) Run(ctx context.Context, settled, exiting <-chan struct{}, status func() string) error {
	if n.send == nil {
		return nil
	}
	select {
	case <-settled:
	case <-ctx.Done():
		return nil
	}
	n.say(daemon.SdNotifyReady)
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		n.show(status())
		select {
		case <-tick.C:
		case <-exiting:
			exiting = nil
			n.say(daemon.SdNotifyStopping)
		case <-ctx.Done():
			return nil
		}
	}
}
