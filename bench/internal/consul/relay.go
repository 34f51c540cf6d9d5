package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Relay stands between a proxy and an agent and notes when the agent's first
// answer began to go through.
type Relay struct {
	Address string // to be asked instead of the agent

	listener net.Listener
	to       string
	first    atomic.Pointer[time.Time]
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Relay begins to pass connections on to the agent.
func (a *Agent) Relay(ctx context.Context) (*Relay, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("stand before consul: %w", err)
	}
	r := &Relay{Address: l.Addr().String(), listener: l, to: a.HTTP}
	ctx, r.cancel = context.WithCancel(ctx)
	r.running.Go(func() { r.accept(ctx) })
	return r, nil
}

// FirstAnswer is when the first byte of an answer came; false: none has yet.
func (r *Relay) FirstAnswer() (time.Time, bool) {
	at := r.first.Load()
	if at == nil {
		return time.Time{}, false
	}
	return *at, true
}

// Stop ends all connections and returns when they are gone.
func (r *Relay) Stop() {
	r.cancel()
	r.listener.Close()
	r.running.Wait()
}

func (r *Relay) accept(ctx context.Context) {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // it was stopped
		}
		r.running.Go(func() { r.pass(ctx, c) })
	}
}

// pass ends when either side has ended.
func (r *Relay) pass(ctx context.Context, client net.Conn) {
	agent, err := (&net.Dialer{}).DialContext(ctx, "tcp4", r.to)
	if err != nil {
		client.Close()
		return
	}
	end := func() { _ = errors.Join(client.Close(), agent.Close()) } // makes both copies return
	defer context.AfterFunc(ctx, end)()
	var copies sync.WaitGroup
	copies.Go(func() {
		defer end()
		_, _ = io.Copy(agent, client) // whatever ends it ends both
	})
	copies.Go(func() {
		defer end()
		r.answers(client, agent)
	})
	copies.Wait()
}

// answers passes on what the agent says.
func (r *Relay) answers(client, agent net.Conn) {
	var b [1]byte
	if _, err := io.ReadFull(agent, b[:]); err != nil {
		return
	}
	r.first.CompareAndSwap(nil, new(time.Now()))
	if _, err := client.Write(b[:]); err == nil {
		_, _ = io.Copy(client, agent) // as above
	}
}
