package proxy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// stampSize is the length of a message: its number, and padding so that some
// of it may wait in buffers.
const stampSize = 512

// talk exchanges one message and answers the term of the master on the other end.
func talk(c *net.TCPConn, stamp uint64) (term uint64, err error) {
	msg := make([]byte, stampSize)
	binary.BigEndian.PutUint64(msg, stamp)
	if _, err := c.Write(msg); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(c, msg)
	return binary.BigEndian.Uint64(msg), err
}

// answerWithTerm answers each message with term, after late has seen the message's stamp.
func answerWithTerm(term uint64, seen func(stamp uint64)) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		msg := make([]byte, stampSize)
		for {
			if _, err := io.ReadFull(c, msg); err != nil {
				return
			}
			seen(binary.BigEndian.Uint64(msg))
			binary.BigEndian.PutUint64(msg, term)
			if _, err := c.Write(msg); err != nil {
				return
			}
		}
	}
}

// wasCut reports whether err is what a cut does to a client, and nothing else.
func wasCut(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// client keeps talking until ctx ends, and connects anew after each cut.
// check sees every answer, with what was the stamp when its message was sent.
func client(ctx context.Context, addr string, stamp *atomic.Uint64, check func(sent, term uint64) error) error {
	for ctx.Err() == nil {
		before := stamp.Load()
		c, err := dialTCP(addr)
		if wasCut(err) {
			continue // reached its master and was cut before the dialler looked at it
		}
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		for n := 0; err == nil && ctx.Err() == nil && n < 200; n++ { // and leave now and then
			sent := max(before, stamp.Load())
			var term uint64
			if term, err = talk(c, sent); err == nil {
				err = check(sent, term)
			}
		}
		c.SetLinger(0)
		c.Close()
		if err != nil && !wasCut(err) {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("stuck: %w", err)
			}
			return err
		}
	}
	return nil
}

// TestNoMessageSentAfterAFailoverReachesAnEarlierMaster makes failovers as fast
// as they go, each to a master of its own, under traffic and a storm of
// connects. Each message carries the number of the newest failover that had
// returned when it was sent: no earlier master may ever read it.
func TestNoMessageSentAfterAFailoverReachesAnEarlierMaster(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	const failovers, clients = 120, 24
	var returned atomic.Uint64 // the term of the newest failover that has returned
	newTerm := func(term uint64) *master {
		return newMaster(t, answerWithTerm(term, func(stamp uint64) {
			if stamp > term {
				t.Errorf("message sent after failover %d: read by master of term %d", stamp, term)
			}
		}))
	}
	m := newTerm(1)
	r.set(m.addr)
	returned.Store(1)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var answers atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error {
			return client(ctx, r.addrs["default"], &returned, func(sent, term uint64) error {
				answers.Add(1)
				if term < sent {
					return fmt.Errorf("message sent after failover %d: answered by master of term %d", sent, term)
				}
				return nil
			})
		})
	}
	var old []netip.AddrPort
	for term := uint64(2); term <= failovers && ctx.Err() == nil; term++ {
		begin := answers.Load()
		waitUntil(t, "traffic", func() bool { return answers.Load() > begin+clients || ctx.Err() != nil })
		old = append(old, m.addr)
		m = newTerm(term)
		r.set(m.addr)
		returned.Store(term)
		wantNoSockets(t, old[len(old)-1])
	}
	begin := answers.Load()
	waitUntil(t, "traffic after the last failover", func() bool { return answers.Load() > begin+10*clients || ctx.Err() != nil })
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	wantNoSockets(t, old...)
	r.waitActive(0)
	wantSums(t, r)
	if s := r.state(); s.FailoverDropped != s.Closed[proxy.Failover] || s.FailoverDropped == 0 {
		t.Errorf("dropped by failovers: got %d; want the %d closed for it, and some", s.FailoverDropped, s.Closed[proxy.Failover])
	}
}

// wantSums waits until every connection accepted is either active or closed.
func wantSums(t testing.TB, r *relay) {
	t.Helper()
	var s proxy.LabelSnapshot
	waitUntil(t, "accepted is active and closed together", func() bool {
		s = r.state()
		sum := uint64(s.Active)
		for _, n := range s.Closed {
			sum += n
		}
		return sum == s.Accepted
	})
	if s.Closed[proxy.Internal] > 0 {
		t.Errorf("closed for an internal reason: got %d; want 0", s.Closed[proxy.Internal])
	}
}

// TestConcurrentFailoversLeaveNobodyWithAnEarlierMaster has several callers
// disagree about the master; losses and kills come in between.
func TestConcurrentFailoversLeaveNobodyWithAnEarlierMaster(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	const clients, callers = 16, 4
	var masters []*master
	for term := range uint64(4) {
		masters = append(masters, newMaster(t, answerWithTerm(term, func(uint64) {})))
	}
	r.set(masters[0].addr)
	begin := r.state()

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var none atomic.Uint64
	var answers atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error {
			return client(ctx, r.addrs["default"], &none, func(_, _ uint64) error { answers.Add(1); return nil })
		})
	}
	var mu sync.Mutex
	epochs := make(map[uint64]bool)
	dropped := 0
	var others []netip.AddrPort // who is not the master in the end
	var disputes errgroup.Group
	finish := time.Now().Add(2 * time.Second)
	for i := range callers {
		disputes.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(finish) {
				if rng.IntN(5) == 0 {
					r.Lose("default", proxy.Loss{})
				}
				cut := r.set(masters[rng.IntN(len(masters))].addr)
				if cut.ID == "" {
					continue
				}
				mu.Lock()
				if epochs[cut.Epoch] {
					mu.Unlock()
					return fmt.Errorf("epoch %d began twice", cut.Epoch)
				}
				epochs[cut.Epoch] = true
				dropped += cut.Dropped
				mu.Unlock()
			}
			return nil
		})
	}
	if err := disputes.Wait(); err != nil {
		t.Error(err)
	}
	s := r.state()
	if s.Epoch != begin.Epoch+uint64(len(epochs)) || s.Failovers != begin.Failovers+uint64(len(epochs)) {
		t.Errorf("epoch, failovers: got %d, %d more; want %d more each", s.Epoch-begin.Epoch, s.Failovers-begin.Failovers, len(epochs))
	}
	if s.FailoverDropped != uint64(dropped) || s.Closed[proxy.Failover] != uint64(dropped) {
		t.Errorf("dropped: got %d counted, %d closed; want the sum of the cuts, %d", s.FailoverDropped, s.Closed[proxy.Failover], dropped)
	}
	for _, m := range masters {
		if m.addr != s.Master.Address {
			others = append(others, m.addr)
		}
	}
	wantNoSockets(t, others...)
	now := answers.Load()
	waitUntil(t, "every client talks again", func() bool { return answers.Load() > now+20*clients || ctx.Err() != nil })
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	r.waitActive(0)
	wantSums(t, r)
}
