package fleet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The load. It is light: the tests ask whether a connection fails, not how
// many there can be.
const (
	requesters   = 6
	requestPause = 20 * time.Millisecond
	streamPause  = 20 * time.Millisecond
)

// traffic is what the clients of a fleet do: short requests, one connection
// each, at a steady rate, and streams that live until somebody ends them.
type traffic struct {
	t      *testing.T
	from   *host
	to     string
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	number atomic.Int64

	mu       sync.Mutex
	requests []request
	streams  []*stream
}

// request is one short request and what became of it.
type request struct {
	id           string
	client       string // its local address; empty: it never had one
	begun, ended time.Time
	answer       answer
	err          error // nil: it was answered
}

func (r request) String() string {
	return fmt.Sprintf("%s to %s, request %s from %s, answered by %q: %v",
		clock(r.begun), clock(r.ended), r.id, r.client, r.answer.master, r.err)
}

// clock is how a moment is shown, as the logs of rosproxy do.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// startTraffic starts short requests from a host to an address.
func startTraffic(t *testing.T, from *host, to string) *traffic {
	t.Helper()
	f := &traffic{t: t, from: from, to: to, stop: make(chan struct{})}
	f.add(requesters, requestPause)
	t.Cleanup(f.end)
	f.flows("at the start")
	return f
}

// end ends all traffic; a request under way is finished first.
func (f *traffic) end() {
	f.once.Do(func() { close(f.stop) })
	f.wg.Wait()
}

func (f *traffic) ending() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// add adds short requests: so many at a time, with a pause after each.
func (f *traffic) add(count int, pause time.Duration) {
	for range count {
		f.wg.Go(func() {
			_ = f.from.Do(func() error { f.requester(pause); return nil })
		})
	}
}

func (f *traffic) requester(pause time.Duration) {
	for !f.ending() {
		r := f.ask()
		f.mu.Lock()
		f.requests = append(f.requests, r)
		f.mu.Unlock()
		if r.err != nil {
			time.Sleep(requestPause)
		}
		time.Sleep(pause)
	}
}

// ask does one short request: connect, a line, the answer, close.
func (f *traffic) ask() request {
	r := request{id: fmt.Sprint(f.number.Add(1)), begun: time.Now()}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	c, err := dialHere(ctx, f.to)
	if err == nil {
		defer c.Close()
		r.client = c.LocalAddr().String()
		r.answer, err = exchange(c, bufio.NewReader(c), r.id)
	}
	r.err, r.ended = err, time.Now()
	return r
}

// exchange sends a line and reads its answer, which must name the real client.
func exchange(c net.Conn, from *bufio.Reader, text string) (answer, error) {
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if _, err := fmt.Fprintln(c, text); err != nil {
		return answer{}, err
	}
	line, err := from.ReadString('\n')
	if err != nil {
		return answer{}, err
	}
	a, err := parseAnswer(line)
	switch client := c.LocalAddr().String(); {
	case err != nil:
	case a.text != text:
		err = fmt.Errorf("got the answer to %s; want that to %s", a.text, text)
	case a.client != client:
		err = fmt.Errorf("the master was told of the client %s; want %s", a.client, client)
	}
	return a, err
}

// flows waits until each requester has been answered once more: all of them
// are in order now.
func (f *traffic) flows(when string) {
	f.t.Helper()
	begun := time.Now()
	eventually(f.t, "answers to short requests "+when, func() bool {
		answered := 0
		for _, r := range f.asked(begun) {
			if r.err == nil {
				answered++
			}
		}
		return answered >= 2*requesters
	})
}

// asked are the requests that began at or after a moment and are over.
func (f *traffic) asked(since time.Time) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var some []request
	for _, r := range f.requests {
		if !r.begun.Before(since) {
			some = append(some, r)
		}
	}
	return some
}

// failed are all requests that were not answered.
func (f *traffic) failed() []request {
	var failed []request
	for _, r := range f.asked(time.Time{}) {
		if r.err != nil {
			failed = append(failed, r)
		}
	}
	return failed
}

// stream is one connection that lives: a line each 20 ms, each answered.
type stream struct {
	client string
	conn   net.Conn
	closed atomic.Bool   // by us
	over   chan struct{} // closed after the rest is written

	answers      []answer
	begun, ended time.Time
	err          error // how it ended: io.EOF for a FIN
}

// open opens streams and returns when each has had an answer.
func (f *traffic) open(count int) []*stream {
	f.t.Helper()
	var opened []*stream
	for range count {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		c, err := f.from.dial(ctx, f.to)
		cancel()
		if err != nil {
			f.t.Fatalf("open a stream: %v", err)
		}
		s := &stream{client: c.LocalAddr().String(), conn: c, begun: time.Now(), over: make(chan struct{})}
		opened = append(opened, s)
		first := make(chan struct{})
		f.wg.Go(func() { s.run(f.stop, first) })
		select {
		case <-first:
		case <-s.over:
			f.t.Fatalf("stream from %s: got %v before the first answer; want one", s.client, s.err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams = append(f.streams, opened...)
	return opened
}

// run talks until the stream ends or is to stop.
func (s *stream) run(stop, first chan struct{}) {
	defer close(s.over)
	defer s.conn.Close()
	r := bufio.NewReader(s.conn)
	for n := 0; ; n++ {
		a, err := exchange(s.conn, r, fmt.Sprint(n))
		if err != nil {
			s.ended, s.err = time.Now(), err
			return
		}
		s.answers = append(s.answers, a)
		if n == 0 {
			close(first)
		}
		select {
		case <-stop:
			s.closed.Store(true)
			return
		case <-time.After(streamPause):
		}
	}
}

// close ends the stream from the client's side, between two lines or in one.
func (s *stream) close() {
	s.closed.Store(true)
	s.conn.Close()
	<-s.over
}

// alive reports whether nothing has ended the stream.
func (s *stream) alive() bool {
	select {
	case <-s.over:
		return false
	default:
		return true
	}
}

func (s *stream) String() string {
	end := "alive"
	if !s.alive() {
		end = fmt.Sprintf("ended at %s by %s after %d answers", clock(s.ended), howEnded(s.err), len(s.answers))
	}
	return fmt.Sprintf("stream from %s: %s", s.client, end)
}

// howEnded names the end of a connection as the client saw it.
func howEnded(err error) string {
	switch {
	case err == nil:
		return "us"
	case errors.Is(err, io.EOF):
		return "FIN"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "RST"
	default:
		return err.Error()
	}
}
