package discovery

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// health keeps how one Consul address fares, for AgentStatus and the log: one
// warning when trouble begins and one line when it ends, none a retry.
//
// Several questions are put to an address at a time. Trouble begins with the
// first that fails, and ends when each of those that failed has been answered.
// Safe for concurrent use.
type health struct {
	log zerolog.Logger

	mu      sync.Mutex
	status  AgentStatus
	failing map[asked]string    // the latest error of each
	began   map[asked]time.Time // when the newest of each began that was answered
	index   map[asked]uint64    // of the latest answer to each
	since   time.Time           // when the trouble began; zero: there is none
	denied  bool                // the trouble's log says that access is denied
}

// asked tells apart what is asked of one address.
type asked struct {
	watch int
	poll  bool // the long poll; else the read that verifies
}

func newHealth(address string, log zerolog.Logger) *health {
	return &health{
		log:     log.With().Str("consul", address).Logger(),
		status:  AgentStatus{Address: address, Error: "not asked yet"},
		failing: make(map[asked]string),
		began:   make(map[asked]time.Time),
		index:   make(map[asked]uint64),
	}
}

// note takes the answer to q. One that was not obtained is no trouble when a
// newer one has been: reads overtake each other.
func (h *health) note(q asked, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newer := !a.began.Before(h.began[q])
	if a.err != nil {
		h.status.Errors++
		if newer {
			h.fail(q, a)
		}
		return
	}
	if newer {
		h.began[q] = a.began
		delete(h.failing, q)
	}
	h.status.LastContact = a.arrived
	h.index[q] = a.index
	for _, other := range h.failing {
		h.status.Error = other
		return
	}
	h.status.OK, h.status.Error = true, ""
	if !h.since.IsZero() {
		h.log.Info().Dur("lasted_ms", a.arrived.Sub(h.since)).Msg("consul answers again")
		h.since, h.denied = time.Time{}, false
	}
}

// fail keeps an error. mu is held.
func (h *health) fail(q asked, a answer) {
	h.status.OK, h.status.Error = false, a.err.Error()
	h.failing[q] = h.status.Error
	switch {
	case h.since.IsZero():
		h.since = a.arrived
	case a.kind != denied || h.denied:
		return
	}
	if a.kind == denied {
		h.denied = true
		h.log.Warn().Str("error", strings.TrimPrefix(h.status.Error, "denied: ")).Msg("consul denies access")
		return
	}
	h.log.Warn().Err(a.err).Msg("consul does not answer")
}

// forget lets go of a question that is asked no more: what it failed with is no
// trouble any longer.
func (h *health) forget(watch int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range []asked{{watch: watch}, {watch: watch, poll: true}} {
		delete(h.began, q)
		delete(h.failing, q)
		delete(h.index, q)
	}
}

// trouble is the latest error of a question; empty: there is none.
func (h *health) trouble(watch int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Or(h.failing[asked{watch: watch}], h.failing[asked{watch: watch, poll: true}])
}

// reset counts a raft index that went backwards.
func (h *health) reset() {
	h.mu.Lock()
	h.status.IndexResets++
	h.mu.Unlock()
}

func (h *health) snapshot() AgentStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.status
	for _, i := range h.index { // each question has one of its own
		s.Index = max(s.Index, i)
	}
	return s
}
