package proxy

import "github.com/rs/zerolog"

// The events of Config.OnEvent.
const (
	eventFailover = "failover"
	eventLost     = "lost"
	eventBack     = "back"
	eventPause    = "pause"
	eventResume   = "resume"
)

// tell writes a line of the log that is an event as well: whoever asks later what
// has happened gets the very fields that the log has. They are name and value in turn.
func (p *Proxy) tell(level zerolog.Level, event, message string, fields ...any) {
	p.log.WithLevel(level).Fields(fields).Msg(message)
	if p.config.OnEvent != nil {
		p.config.OnEvent(event, message, fields)
	}
}
