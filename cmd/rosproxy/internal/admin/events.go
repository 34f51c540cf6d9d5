package admin

import (
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
)

// recentEvents are the events of a Status, the oldest first.
func (a *Server) recentEvents() []api.Event {
	all := []api.Event{}
	for _, e := range a.events.All() {
		all = append(all, newEvent(e))
	}
	return all
}

func newEvent(e events.Event) api.Event {
	out := api.Event{}
	for i := 0; i+1 < len(e.Fields); i += 2 {
		if name, ok := e.Fields[i].(string); ok {
			out[name] = shown(e.Fields[i+1])
		}
	}
	out["at"], out["event"], out["label"], out["message"] = rfc3339(e.At), e.Name, e.Label(), e.Message
	return out
}

// maxField bounds the text of one field, in bytes: it may come from Consul, or be
// the end of a process in its own words.
const maxField = 1024

// shown is the value of a field as JSON has it.
func shown(value any) any {
	switch v := value.(type) {
	case time.Time:
		return rfc3339(v)
	case time.Duration:
		return float64(v) / float64(time.Millisecond)
	case error:
		return config.Printable(v.Error(), maxField)
	case string:
		return config.Printable(v, maxField)
	}
	return value
}
