package upgrade

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// untold is a service manager that nobody listens to.
type untold struct{}

func (untold) Reloading()      {}
func (untold) Reloaded(string) {}
func (untold) Succeeded(int)   {}
func (untold) Reclaimed()      {}

// TestUpgradeThatHasFailedIsOverWhenThatIsTold: whoever reads the line, or the
// metric, may ask for the next at once.
func TestUpgradeThatHasFailedIsOverWhenThatIsTold(t *testing.T) {
	p, err := proxy.New(proxy.Config{Listeners: []proxy.Listener{{Label: "a", Address: "127.0.0.1:0"}}, Shards: 1}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	allowed := make(chan struct{})
	close(allowed)
	var u *Upgrader
	var refusals []error
	recent := &events.Recent{Follow: func(e events.Event) { refusals = append(refusals, u.refusal()) }}
	u = NewUpgrader(Config{
		Executable: "/does/not/exist", Proxy: p, Pauses: NewPauses(p, nil, zerolog.Nop()), Endpoints: &Endpoints{},
		Lifecycle: drain.New(drain.Config{}, nil, zerolog.Nop()), Notifier: untold{}, Allowed: allowed, Events: recent, Log: zerolog.Nop(),
	})
	if err := u.refusal(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.upgrade(t.Context()); err == nil {
		t.Fatal("got an upgrade to a program that is not there")
	}
	if u.Failed() != 1 || len(refusals) != 1 || refusals[0] != nil {
		t.Errorf("got %d failures, the next refused with %v; want one, told once, and the next not refused", u.Failed(), refusals)
	}
}

func TestNewProcessIsNotToldWhatWasSaidToTheOld(t *testing.T) {
	env := []string{"A=1", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "WATCHDOG_PID=1", "WATCHDOG_USEC=5", "NOTIFY_SOCKET=/n", handover.Variable + "X=1"}
	if got, want := strings.Join(withoutManager(env, true), " "), "A=1 WATCHDOG_USEC=5 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := strings.Join(withoutManager(env, false), " "), "A=1 NOTIFY_SOCKET=/n "+handover.Variable+"X=1"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
