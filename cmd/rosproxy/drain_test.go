package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// The last moments of a drain, as clients see them.

func TestDeadlineOfADrainEndsClientsByFINAndTellsHowManyWereLeft(t *testing.T) {
	_, one, p := follows(t)
	leaves, stays := p.connected(one), p.connected(one)
	var v map[string]any
	p.request("POST", "/drain?grace=0s&timeout=4s", &v)
	var g errgroup.Group
	for _, c := range []*client{leaves, stays} {
		g.Go(func() error {
			if got, err := c.line(); err != io.EOF {
				return fmt.Errorf("at the deadline: read %q, %v; want FIN", got, err)
			}
			if c == leaves {
				return c.Close()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
	if got := p.metric(`connections_closed_total{label="default",reason="drain_deadline"}`); got != 2 {
		t.Errorf("got %v ended by the deadline; want 2", got)
	}
	finished := p.saysOnce("drain finished")
	// On a busy machine the one that leaves may come too late to be counted as closed.
	if closed, cut := finished["closed"].(float64), finished["cut"].(float64); closed+cut != 2 || cut < 1 {
		t.Errorf("got %v closed, %v cut; want one of each", closed, cut)
	}
	p.saysOnce("drain deadline near: closing connections one by one")
	for _, l := range p.log.lines(t, "connection closed") {
		if l["reason"] != "drain_deadline" {
			t.Errorf("got a connection closed for %v; want drain_deadline", l["reason"])
		}
	}
}

// TestNoConnectThatSucceededIsLostWhenADrainClosesTheListener has clients come
// all the time, while the listener closes without grace and opens again.
func TestNoConnectThatSucceededIsLostWhenADrainClosesTheListener(t *testing.T) {
	_, one, p := follows(t)
	listen := p.label().Listen
	var served, refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	defer stop()
	for i := range 8 {
		g.Go(func() error {
			for ctx.Err() == nil {
				ok, err := visit(ctx, listen, i, one.name)
				if err != nil {
					return err
				}
				if ok {
					served.Add(1)
				} else {
					refused.Add(1)
					time.Sleep(time.Millisecond) // the machine has other work
				}
			}
			return nil
		})
	}
	for range 5 {
		before := served.Load()
		eventually(t, "clients to be served", func() bool { return served.Load() > before+20 || ctx.Err() != nil })
		var v map[string]any
		p.request("POST", "/drain?grace=0s", &v)
		eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
		p.request("DELETE", "/drain", &v)
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Errorf("%v (after %d served, %d refused)", err, served.Load(), refused.Load())
	}
}

// visit connects, is greeted and leaves; ok is false when the connect was
// refused or not answered in time, which is no connection either. Each
// visitor has a source address of its own, so that no port runs out.
func visit(ctx context.Context, listen string, visitor int, greeting string) (ok bool, err error) {
	d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+visitor))}}
	c, err := d.DialContext(ctx, "tcp", listen)
	if errors.Is(err, syscall.ECONNREFUSED) || os.IsTimeout(err) || ctx.Err() != nil && err != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	_ = c.(*net.TCPConn).SetLinger(0)
	got := make([]byte, len(greeting)+1)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != greeting+"\n" {
		return false, fmt.Errorf("connection that was made: greeted by %q, %w; want %s", got, err, greeting)
	}
	return true, nil
}
