package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Static is a Source of masters that never change.
type Static struct {
	log     zerolog.Logger
	lookup  lookupFunc
	timeout time.Duration // of one look-up
	pace    backoff       // between them; copied by each label

	masters []staticMaster // one a label, in their order

	mu     sync.Mutex
	states []State
}

// staticMaster is the master of one label as the operator named it.
type staticMaster struct {
	label string
	host  string
	port  uint16
	addr  netip.Addr // not valid: host is a name
}

// NewStatic makes a source out of masters, HOST:PORT by label name. A host
// name is resolved when Run begins, and again until that succeeds, and keeps
// that address.
//
// It fails, naming the culprit, when a label has no master, a master no label,
// or an address cannot be understood or connected to.
func NewStatic(masters map[string]string, labels []Label, log zerolog.Logger) (*Static, error) {
	s := &Static{
		log:     log.With().Str("component", "discovery").Logger(),
		lookup:  systemLookup,
		timeout: 2 * time.Second,
		pace:    backoff{first: time.Second, most: 5 * time.Second},
	}
	known := make(map[string]bool)
	for _, l := range labels {
		address, ok := masters[l.Name]
		if !ok {
			return nil, fmt.Errorf("label %q has no static master", l.Name)
		}
		m, err := parseStatic(l.Name, address)
		if err != nil {
			return nil, err
		}
		known[l.Name] = true
		s.masters = append(s.masters, m)
		s.states = append(s.states, Starting)
	}
	for name := range masters {
		if !known[name] {
			return nil, fmt.Errorf("static master of label %q: there is no such label", name)
		}
	}
	return s, nil
}

func parseStatic(label, address string) (staticMaster, error) {
	m := staticMaster{label: label}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return m, fmt.Errorf("static master %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return m, fmt.Errorf("static master %q: port %q is not between 1 and 65535", address, port)
	}
	addr, isIP, err := parseHost(host)
	if err != nil {
		return m, fmt.Errorf("static master %q: %w", address, err)
	}
	m.host, m.port = host, uint16(n)
	if isIP {
		m.addr = addr
	}
	return m, nil
}

// Run implements Source. It never returns an error.
func (s *Static) Run(ctx context.Context, sink Sink) error {
	var resolving sync.WaitGroup
	for i := range s.masters {
		resolving.Go(func() { s.serve(ctx, i, sink) })
	}
	resolving.Wait()
	<-ctx.Done()
	return nil
}

// serve tells sink the master of one label, as soon as its address is known.
func (s *Static) serve(ctx context.Context, i int, sink Sink) {
	m, addr := s.masters[i], s.masters[i].addr
	for pace, warned := s.pace, false; !addr.IsValid(); {
		lctx, cancel := context.WithTimeout(ctx, s.timeout)
		found, err := resolveOne(lctx, s.lookup, m.host)
		cancel()
		if err == nil {
			addr = found
			break
		}
		if ctx.Err() == nil && !warned {
			s.log.Warn().Str("label", m.label).Err(err).Msg("static master not known yet")
			warned = true
		}
		if !sleep(ctx, pace.next()) {
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	sink.SetMaster(m.label, Master{Address: netip.AddrPortFrom(addr, m.port)})
	s.mu.Lock()
	s.states[i] = Found
	s.mu.Unlock()
}

// Labels implements Source.
func (s *Static) Labels() []LabelStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]LabelStatus, len(s.masters))
	for i, m := range s.masters {
		out[i] = LabelStatus{Label: m.label, State: s.states[i]}
		if s.states[i] == Found {
			out[i].MastersSeen = 1
		}
	}
	return out
}

// Agents implements Source: there are none.
func (s *Static) Agents() []AgentStatus { return nil }
