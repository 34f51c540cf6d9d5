package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// Static is a Source of masters that never change.
type Static struct {
	log     zerolog.Logger
	lookup  hostname.LookupFunc
	timeout time.Duration   // of one look-up
	pace    waiting.Backoff // between them; copied by each label

	masters []*staticMaster // one a label, in their order
}

// staticMaster is the master of one label as the operator named it.
type staticMaster struct {
	label string
	host  string
	port  uint16
	addr  netip.Addr // not valid: host is a name

	redial chan struct{} // holds one hint at most: dials fail
	known  atomic.Bool   // the sink has it
	failed atomic.Bool   // host cannot be looked up
}

// NewStatic makes a source out of masters, HOST:PORT by label name. A host
// name is looked up when Run begins, again until that succeeds, and again
// while dials fail.
//
// It fails, naming the culprit, when a label has no master, a master no label,
// or an address cannot be understood or connected to.
func NewStatic(masters map[string]string, labels []Label, log zerolog.Logger) (*Static, error) {
	s := &Static{
		log:     log.With().Str("component", "discovery").Logger(),
		lookup:  hostname.SystemLookup,
		timeout: 2 * time.Second,
		pace:    waiting.Backoff{First: time.Second, Most: 5 * time.Second},
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
	}
	for name := range masters {
		if !known[name] {
			return nil, fmt.Errorf("static master of label %q: there is no such label", name)
		}
	}
	return s, nil
}

// CheckStatic says what is wrong with the address of a static master: nil when nothing is.
func CheckStatic(address string) error {
	_, err := parseStatic("", address)
	return err
}

func parseStatic(label, address string) (*staticMaster, error) {
	m := &staticMaster{label: label, redial: make(chan struct{}, 1)}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("static master %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("static master %q: port %q is not between 1 and 65535", address, port)
	}
	addr, isIP, err := parseHost(host)
	if err != nil {
		return nil, fmt.Errorf("static master %q: %w", address, err)
	}
	m.host, m.port = host, uint16(n)
	if isIP {
		m.addr = addr
	}
	return m, nil
}

// Run implements Source. It never returns an error.
func (s *Static) Run(ctx context.Context, sink Sink) error {
	var serving sync.WaitGroup
	for _, m := range s.masters {
		serving.Go(func() { s.serve(ctx, m, sink) })
	}
	serving.Wait()
	return nil
}

// serve tells sink the master of one label, as soon as its address is known,
// and each time that its host name is found to stand for another one.
func (s *Static) serve(ctx context.Context, m *staticMaster, sink Sink) {
	log := s.log.With().Str("label", m.label).Logger()
	r := newResolver(s.lookup, s.timeout, s.pace)
	defer r.close()
	host, addr := m.host, m.addr
	if addr.IsValid() {
		host = ""
		m.set(sink, addr)
	}
	r.start(ctx, host)
	var said logged
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-r.results:
			if !r.accept(f) {
				continue
			}
			m.failed.Store(f.err != nil)
			said.lookup(log, f, r.known[host])
			if f.addr.IsValid() && f.addr != addr {
				addr = f.addr
				m.set(sink, addr)
			}
		case <-m.redial:
			r.retry(ctx, host, m.port)
		}
	}
}

func (m *staticMaster) set(sink Sink, addr netip.Addr) {
	sink.SetMaster(m.label, Master{Address: netip.AddrPortFrom(addr, m.port)})
	m.known.Store(true)
}

// VerifyNow implements Source: there is nothing to ask.
func (s *Static) VerifyNow() {}

// Withdraw implements Source: nothing is reported of a static master.
func (s *Static) Withdraw(context.Context) {}

// DialFailed implements Source.
func (s *Static) DialFailed(label string) {
	for _, m := range s.masters {
		if m.label == label {
			waiting.Signal(m.redial)
			return
		}
	}
}

// Labels implements Source.
func (s *Static) Labels() []LabelStatus {
	out := make([]LabelStatus, len(s.masters))
	for i, m := range s.masters {
		out[i] = LabelStatus{Label: m.label, State: Starting, Source: SourceStatic}
		if m.known.Load() {
			out[i].State, out[i].MastersSeen = Found, 1
		} else if !m.addr.IsValid() {
			out[i].Why = whyUnnamed(m.host, m.failed.Load())
		}
	}
	return out
}

// Agents implements Source: there are none.
func (s *Static) Agents() []AgentStatus { return nil }

// Datacenters implements Source.
func (s *Static) Datacenters() *DatacentersStatus { return nil }
