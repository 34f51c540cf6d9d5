package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
)

// Bounds of the agent check.
const (
	agentTimeout   = time.Second // for the whole of one answer
	maxAgentReason = 100         // bytes: HAProxy keeps 128 of what it is told
	maxAgentSend   = 4 << 10     // bytes that a peer may send

	// agentSendTimeout is how long an answer waits for a line of the peer's.
	// HAProxy's agent-send comes with the last segment of the handshake, or
	// right behind it; a check without one must not be answered much later.
	agentSendTimeout = 50 * time.Millisecond
)

// AgentCheck answers HAProxy's agent checks: one line to whoever connects.
type AgentCheck struct {
	readiness func(probe) (Readiness, error)
	log       zerolog.Logger
}

// NewAgentCheck answers with the readiness of s.
func NewAgentCheck(s *Server, log zerolog.Logger) *AgentCheck {
	return &AgentCheck{readiness: s.readiness, log: log}
}

// Serve answers on l until ctx ends and the answers under way are given. It
// closes l.
func (a *AgentCheck) Serve(ctx context.Context, l net.Listener) error {
	a.log.Info().Stringer("address", l.Addr()).Msg("listener opened")
	accepted := make(chan error, 1)
	go a.acceptAll(l, accepted)
	var err error
	select {
	case <-ctx.Done():
		_ = l.Close()
		<-accepted
	case err = <-accepted:
		err = errors.Join(fmt.Errorf("accept agent checks: %w", err), l.Close())
	}
	a.log.Info().Stringer("address", l.Addr()).Msg("listener closed")
	return err
}

// acceptAll says why it ended when the last answer has been given.
func (a *AgentCheck) acceptAll(l net.Listener, ended chan<- error) {
	var answers sync.WaitGroup
	for {
		c, err := l.Accept()
		if err != nil {
			answers.Wait()
			ended <- err
			return
		}
		setConnBusy(c, true) // before the next is accepted, for which this one might be closed
		answers.Go(func() { a.answer(c) })
	}
}

// answer tells the peer the state of what it has asked for, and closes.
func (a *AgentCheck) answer(c net.Conn) {
	defer c.Close()
	line := a.lineFor(readAgentSend(c))
	if c.SetDeadline(time.Now().Add(agentTimeout)) != nil {
		return
	}
	if _, err := io.WriteString(c, line); err != nil {
		return
	}
	setConnBusy(c, false)
	// A close with bytes unread is a RST (RFC 2525, 2.17), which could cost a
	// peer that has sent some (agent-send) its answer. So it closes first.
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, maxAgentSend)
	}
}

// readAgentSend is what the peer sends before the end of its first line, or in
// the time that there is for that.
func readAgentSend(c net.Conn) string {
	if c.SetReadDeadline(time.Now().Add(agentSendTimeout)) != nil {
		return ""
	}
	said := make([]byte, 0, 128)
	for len(said) < maxAgentSend {
		n, err := c.Read(said[len(said):cap(said)])
		said = said[:len(said)+n]
		if end := bytes.IndexByte(said, '\n'); end >= 0 {
			return string(said[:end])
		}
		if err != nil {
			break
		}
		said = slices.Grow(said, 1)
	}
	return string(said)
}

// lineFor answers what the peer has sent. A question that makes no sense is
// answered as /readyz answers it, by a state that is not ready.
func (a *AgentCheck) lineFor(said string) string {
	var p probe
	err := p.takeLine(said)
	var r Readiness
	if err == nil {
		r, err = a.readiness(p)
	}
	if err != nil {
		return "down ready #" + config.Trim(err.Error(), maxAgentReason) + "\n"
	}
	return agentLine(r)
}

// agentLine is r in the words of HAProxy's agent check.
//
// HAProxy keeps two states for a server, and changes of each only what it is
// told: drain and ready are the administrative one, up and down the
// operational one. So each answer says both, or what had been said before
// would stick: "drain" holds until "ready", and "down" until "up".
func agentLine(r Readiness) string {
	switch r.verdict() {
	case verdictUp:
		return "up ready\n"
	case verdictDraining:
		return "drain up #" + reasonDraining + "\n"
	case verdictFull: // not down, which may end the live sessions
		return "drain up #" + reasonFull + "\n"
	}
	reasons := config.Trim(r.agentReasons(), maxAgentReason)
	if r.verdict() == verdictPaused { // its live sessions go on
		return "drain up #" + reasons + "\n"
	}
	if r.isDraining() {
		return "drain down #" + reasons + "\n"
	}
	return "down ready #" + reasons + "\n"
}

// agentReasons are the reasons of r, and why, where that leaves room for all of
// them: of one reason as much of the why as there is room for.
func (r Readiness) agentReasons() string {
	why := map[string]string{}
	for label, text := range r.Why {
		why[reasonOf(discovery.State(r.Labels[label]), label)] = " (" + text + ")"
	}
	explained := slices.Clone(r.Reasons)
	for i, reason := range explained {
		explained[i] += why[reason]
	}
	full := strings.Join(explained, ", ")
	if len(full) > maxAgentReason && len(r.Reasons) > 1 {
		return strings.Join(r.Reasons, ", ")
	}
	return full
}
