package upgrade

import (
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/drain/handover"
)

func TestNewProcessIsNotToldWhatWasSaidToTheOld(t *testing.T) {
	env := []string{"A=1", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "WATCHDOG_PID=1", "WATCHDOG_USEC=5", "NOTIFY_SOCKET=/n", handover.Variable + "X=1"}
	if got, want := strings.Join(withoutManager(env, true), " "), "A=1 WATCHDOG_USEC=5 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := strings.Join(withoutManager(env, false), " "), "A=1 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
