package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// Pauses are the pauses of labels, over all generations of the process that
// still live. The newest decides: it tells those before it, whose clients wait
// and whose live connections count too, and a successor has them before it accepts.
type Pauses struct {
	proxy       *proxy.Proxy
	predecessor *handover.Predecessor // nil: none
	log         zerolog.Logger

	mu         sync.Mutex
	handedOver bool // to a successor, which decides from then on
}

// NewPauses makes the Pauses of a process with that predecessor; nil: it has none.
func NewPauses(p *proxy.Proxy, predecessor *handover.Predecessor, log zerolog.Logger) *Pauses {
	return &Pauses{proxy: p, predecessor: predecessor, log: log}
}

// ErrHandedOver says that another process decides about the pauses.
var ErrHandedOver = errors.New("the pauses are handed over to a new process")

// askTime bounds the wait for the generations of before.
const askTime = time.Second

// Pause pauses label as proxy.Pause does, in all generations.
func (s *Pauses) Pause(ctx context.Context, label string, o proxy.PauseOrder) (proxy.PauseState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handedOver {
		return proxy.PauseState{}, ErrHandedOver
	}
	state, err := s.proxy.Pause(label, o)
	if err != nil {
		return state, err
	}
	s.tellEarlier(ctx).addTo(&state)
	return state, nil
}

// Resume ends label's pause as proxy.Resume does, in all generations.
func (s *Pauses) Resume(ctx context.Context, label, by string) (proxy.PauseState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handedOver {
		return proxy.PauseState{}, ErrHandedOver
	}
	if err := s.proxy.Resume(label, by); err != nil {
		return proxy.PauseState{}, err
	}
	earlier := s.tellEarlier(ctx)
	state, err := s.proxy.PauseOf(label)
	earlier.addTo(&state)
	return state, err
}

// Pauses are those of this process, with what the generations of before have of them.
func (s *Pauses) Pauses(ctx context.Context) ([]proxy.PauseState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handedOver {
		return nil, ErrHandedOver
	}
	earlier := s.tellEarlier(ctx)
	all := s.proxy.Pauses()
	for i := range all {
		earlier.addTo(&all[i])
	}
	return all, nil
}

// counts is what the generations of before answer, by label.
type counts struct {
	Live    map[string]int `json:"live"`
	Held    map[string]int `json:"held"`
	Unknown bool           `json:"unknown"` // one of them lives and has not answered
}

// addTo adds c to s. Whoever has not answered counts as a live connection: it may have one.
func (c counts) addTo(s *proxy.PauseState) {
	s.Live += c.Live[s.Label]
	s.Held += c.Held[s.Label]
	if c.Unknown {
		s.Live++
	}
}

// tellEarlier tells the predecessor what is paused, and answers what it, and
// those before it, have of that.
func (s *Pauses) tellEarlier(ctx context.Context) (c counts) {
	if s.predecessor == nil {
		return counts{}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var err error
	for range 2 { // one may end meanwhile, and another be left
		var answer []byte
		if answer, err = s.predecessor.Ask(ctx, s.encode()); err == nil {
			err = json.Unmarshal(answer, &c)
		}
		if !errors.Is(err, handover.ErrGone) {
			break
		}
	}
	if err != nil && !errors.Is(err, handover.ErrNobody) {
		c.Unknown = true
	}
	c.Unknown = c.Unknown || s.predecessor.Unheard()
	return c
}

// Answer takes what the successor says is paused, and answers the counts.
func (s *Pauses) Answer(question []byte) []byte {
	s.mu.Lock()
	decides := s.handedOver
	s.mu.Unlock()
	c := counts{Unknown: true}
	var pauses []proxy.Pause
	if err := json.Unmarshal(question, &pauses); decides && err == nil {
		s.proxy.Adopt(pauses)
		c = s.tellEarlier(context.Background())
		if c.Live == nil {
			c.Live, c.Held = map[string]int{}, map[string]int{}
		}
		for _, p := range s.proxy.Pauses() {
			c.Live[p.Label] += p.Live
			c.Held[p.Label] += p.Held
		}
	}
	b, _ := json.Marshal(c) // it cannot fail
	return b
}

// encode is what is paused, for another process.
func (s *Pauses) encode() []byte {
	all := []proxy.Pause{}
	for _, p := range s.proxy.Pauses() {
		all = append(all, p.Pause)
	}
	b, _ := json.Marshal(all) // it cannot fail
	return b
}

// prepare tells a successor that was started what is paused at the moment, should this
// process die before it hands over.
func (s *Pauses) prepare(next *handover.Successor) {
	if len(s.proxy.Pauses()) > 0 {
		_ = next.Carry(s.encode()) // handOver says it again, or the successor has ended
	}
}

// handOver leaves the pauses to next, which is about to serve: from here on it
// decides about them. takeBack undoes it.
func (s *Pauses) handOver(next *handover.Successor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handedOver = true
	if next.HasCarried() || len(s.proxy.Pauses()) > 0 {
		return next.Carry(s.encode())
	}
	return nil
}

// takeBack is for a successor that has failed.
func (s *Pauses) takeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handedOver = false
}

// Inherit takes over the pauses of the predecessor, before this process accepts.
func (s *Pauses) Inherit() {
	content, ok := s.predecessor.Carried()
	if !ok {
		return
	}
	var pauses []proxy.Pause
	if err := json.Unmarshal(content, &pauses); err != nil {
		s.log.Error().Err(err).Msg("the pauses of the old process cannot be read, nothing is paused")
		return
	}
	s.proxy.Adopt(pauses)
}
