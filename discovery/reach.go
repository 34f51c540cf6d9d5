package discovery

import (
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// reach keeps whether one of several data centres can be read, by way of any
// agent. That another one cannot is no trouble of the agent that is asked.
// Safe for concurrent use.
type reach struct {
	name string
	log  zerolog.Logger
	news chan struct{} // gets an element, if it has none, when trouble begins or ends

	mu      sync.Mutex
	remote  bool          // it is known to be another one than the agents' own
	newest  map[int]noted // by agent
	since   time.Time     // when the trouble began; zero: there is none
	trouble string
}

// noted is how an agent's newest read of the data centre's entry went.
type noted struct {
	began time.Time
	err   error
}

func newReach(name string, news chan struct{}, log zerolog.Logger) *reach {
	return &reach{name: name, news: news, log: log.With().Str("datacenter", name).Logger(), newest: make(map[int]noted)}
}

// note takes the answer to a consistent read of the entry.
func (r *reach) note(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.began.Before(r.newest[a.agent].began) {
		return // overtaken
	}
	r.newest[a.agent] = noted{a.began, a.err}
	if a.err == nil {
		if !r.since.IsZero() {
			r.log.Info().Dur("lasted_ms", time.Since(r.since)).Msg("data centre can be read again")
			r.since, r.trouble = time.Time{}, ""
			waiting.Signal(r.news)
		}
		return
	}
	for _, n := range r.newest {
		if n.err == nil {
			return
		}
	}
	r.trouble = a.err.Error()
	if r.since.IsZero() {
		r.since = a.arrived
		waiting.Signal(r.news)
		r.log.Warn().Err(a.err).Msg("data centre cannot be read")
	}
}

// isRemote reports whether it is known to be another one than the agents' own.
func (r *reach) isRemote() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remote
}

// setOwn takes which data centre is the agents' own.
func (r *reach) setOwn(own string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remote = r.name != own
}

// status is whether it can be read; why is why not.
func (r *reach) status() (up bool, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.newest) == 0 {
		return false, "not asked yet"
	}
	return r.since.IsZero(), r.trouble
}
