package consultest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong with requests. The functions of this
// package make the ones that Consul is known for; On, Times and When narrow them:
//
//	undo := s.Inject(consultest.Status(500, "No cluster leader").On("/v1/health/").Times(3))
//
// Of several faults on a request, the one injected last is the outermost.
type Fault struct {
	Name  string                   // as it appears in Request.Faults
	Path  string                   // prefix of the path; empty: any
	Count int                      // how many requests meet it; 0: all until it is undone
	Match func(*http.Request) bool // a further condition; nil: none

	// Do deals with a request in place of what is behind it. It returns an
	// answer, or none when it has sent one or ended the connection itself, or
	// the error of x.Context or x.Next. It must not outlast x.Context.
	Do func(x *Exchange) (*Answer, error)
}

// On is the fault for paths that begin with prefix.
func (f Fault) On(prefix string) Fault {
	f.Path = prefix
	return f
}

// Times is the fault for the next n requests.
func (f Fault) Times(n int) Fault {
	f.Count = n
	return f
}

// When is the fault for requests that match, too.
func (f Fault) When(match func(*http.Request) bool) Fault {
	if before := f.Match; before != nil {
		and := match
		match = func(r *http.Request) bool { return before(r) && and(r) }
	}
	f.Match = match
	return f
}

func (f Fault) applies(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, f.Path) && (f.Match == nil || f.Match(r))
}

// Inject makes the fault happen to the requests that come, and to long polls
// that wait already: those are answered at once, the way the fault says. A
// long poll that comes later, under a fault that changes answers, waits for
// its answer as ever. undo ends the fault; requests it holds go on as if it
// had not been. It may be called more than once.
func (s *Server) Inject(f Fault) (undo func()) { return s.flights.inject(f) }

// Lag makes the agent fall behind: reads are answered from the catalog of this
// moment, under its old index, until undo.
func (s *Server) Lag() (undo func()) {
	old := s.backend.frozen()
	return s.Inject(Fault{
		Name:  "lag",
		Match: func(r *http.Request) bool { return r.Method == http.MethodGet },
		Do: func(x *Exchange) (*Answer, error) {
			c := *x.call
			c.ctx = x.Context
			return old.answer(&c)
		},
	})
}

// Reset resets the connection instead of answering.
func Reset() Fault {
	return Fault{Name: "reset", Do: func(x *Exchange) (*Answer, error) {
		c, _, err := http.NewResponseController(x.Writer).Hijack()
		if err != nil {
			return nil, errAbort
		}
		linger0(c)
		return nil, c.Close()
	}}
}

// Hang does not answer. Undone, the request is answered after all.
func Hang() Fault {
	return Fault{Name: "hang", Do: func(x *Exchange) (*Answer, error) {
		x.call.asleep()
		<-x.Context.Done()
		return nil, context.Cause(x.Context)
	}}
}

// HangMidAnswer sends the header and half of the body, then no more. Undone,
// the other half follows.
func HangMidAnswer() Fault {
	return Fault{Name: "hang mid-answer", Do: func(x *Exchange) (*Answer, error) {
		return x.sendHalf(func(rest []byte) error {
			x.call.asleep()
			<-x.Context.Done()
			if cause := context.Cause(x.Context); !errors.Is(cause, errFaultGoes) {
				return cause
			}
			_, err := x.Writer.Write(rest)
			return err
		})
	}}
}

// Truncated ends the connection in the middle of the body.
func Truncated() Fault {
	return Fault{Name: "truncated", Do: func(x *Exchange) (*Answer, error) {
		return x.sendHalf(func([]byte) error { return errAbort })
	}}
}

// sendHalf sends an answer up to half of its body and leaves the rest to then.
func (x *Exchange) sendHalf(then func(rest []byte) error) (*Answer, error) {
	a, err := x.Next()
	if a == nil || err != nil {
		return a, err
	}
	half := len(a.Body) / 2
	if err := x.send(a, a.Body[:half]); err != nil {
		return nil, err
	}
	return nil, then(a.Body[half:])
}

// send sends the header of an answer, and the beginning of its body.
func (x *Exchange) send(a *Answer, part []byte) error {
	h := x.Writer.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	x.Writer.WriteHeader(a.Status)
	return x.push(part)
}

// push sends bytes and sees that they leave.
func (x *Exchange) push(b []byte) error {
	if _, err := x.Writer.Write(b); err != nil {
		return errAbort
	}
	if err := http.NewResponseController(x.Writer).Flush(); err != nil {
		return errAbort
	}
	return nil
}

// Drip sends the body in pieces of size bytes, one every so often.
func Drip(size int, every time.Duration) Fault {
	return Fault{Name: "drip", Do: func(x *Exchange) (*Answer, error) {
		a, err := x.Next()
		if a == nil || err != nil {
			return a, err
		}
		if err := x.send(a, nil); err != nil {
			return nil, err
		}
		for rest := a.Body; len(rest) > 0; {
			if err := x.sleep(every); err != nil {
				return nil, err
			}
			n := min(size, len(rest))
			if err := x.push(rest[:n]); err != nil {
				return nil, err
			}
			rest = rest[n:]
		}
		return nil, nil
	}}
}

// Slow answers as ever, d later.
func Slow(d time.Duration) Fault {
	return Fault{Name: "slow", Do: func(x *Exchange) (*Answer, error) {
		if err := x.sleep(d); err != nil {
			return nil, err
		}
		return x.Next()
	}}
}

func (x *Exchange) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-x.Context.Done():
		return context.Cause(x.Context)
	}
}
