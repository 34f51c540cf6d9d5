package listen

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestInheritedSocketsAreMatchedByName(t *testing.T) {
	two := []proxy.Listener{{Label: "europe"}, {Label: "asia"}}
	for _, c := range []struct {
		name      string
		listeners []proxy.Listener
		given     string
		want      string
	}{
		{"labels", two, "asia europe admin agent-check", "listen asia,listen europe,admin,agent-check"},
		{"the only listener takes what has no name", two[:1], "unknown admin", "listen europe,admin"},
		{"the name of the unit is no name", two[:1], "rosproxy.socket", "listen europe"},
		{"no name at all", two[:1], "LISTEN_FD_3", "listen europe"},
		{"of two listeners none takes what has no name", two, "rosproxy.socket", "rosproxy.socket"},
		{"what has a name is not somebody else's", two[:1], "africa", "africa"},
		{"a label comes before the endpoint", []proxy.Listener{{Label: "admin"}}, "admin", "listen admin"},
		{"two for one label", two, "asia asia", "listen asia,listen asia"},
		{"two without a name, of the only listener", two[:1], "unknown unknown", "listen europe,listen europe"},
		{"two for one endpoint", two, "admin admin", "admin,admin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var activated []*os.File
			for name := range strings.FieldsSeq(c.given) {
				null, err := os.Open(os.DevNull)
				if err != nil {
					t.Fatal(err)
				}
				fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				null.Close()
				activated = append(activated, os.NewFile(uintptr(fd), name))
			}
			inherited := NewInherited(nil, activated, c.listeners)
			var names []string
			for _, s := range inherited.sockets {
				names = append(names, s.Name)
				if !s.Shared {
					t.Errorf("%s: got a socket of our own; want it to be systemd's", s.Name)
				}
			}
			if got := strings.Join(names, ","); got != c.want {
				t.Errorf("got %s; want %s", got, c.want)
			}
			if taken := inherited.takeAll(func(s handover.Socket) bool { return s.Name == "nope" }); len(taken) > 0 {
				t.Error("took a socket that was not given")
			}
			if err := inherited.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}
