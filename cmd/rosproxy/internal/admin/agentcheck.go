package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// Bounds of the agent check.
const (
	agentTimeout   = time.Second // for the whole of one answer
	maxAgentReason = 100         // bytes: HAProxy keeps 128 of what it is told
	maxAgentSend   = 4 << 10     // bytes that a peer may send, and nobody looks at
)

// AgentCheck answers HAProxy's agent checks: one line to whoever connects.
type AgentCheck struct {
	readiness func() Readiness
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

// answer tells the peer the state and closes, whatever it has sent.
func (a *AgentCheck) answer(c net.Conn) {
	defer c.Close()
	line := agentLine(a.readiness())
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
	reasons := config.Trim(strings.Join(r.Reasons, ", "), maxAgentReason)
	if r.isDraining() {
		return "drain down #" + reasons + "\n"
	}
	return "down ready #" + reasons + "\n"
}
