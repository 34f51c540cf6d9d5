package admin

import (
	"fmt"
	"strings"

	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// Summary is the state in one line, for the service manager.
func (a *Server) Summary() string {
	s := a.lifecycle.State()
	if s.Phase != drain.Serving {
		return fmt.Sprintf("%s: %d live", s.Phase, s.Active)
	}
	var labels []string
	data := a.data.Overview()
	states := labelStates(data, a.found())
	for _, l := range data.Labels {
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
