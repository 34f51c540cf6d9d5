package consultest

import (
	"context"
	"errors"
	"net/http"
)

// errAbort ends a connection in the middle of an answer.
var errAbort = errors.New("abort the connection")

// serve is the way of one request: through the faults that are on it, newest
// first, to the backend and back. When a fault comes or goes meanwhile, and
// nothing was sent yet, the request takes the way once more.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	f := s.flights.begin(r)
	defer s.flights.end(f)
	sent := &sender{ResponseWriter: w, flight: f}
	c, err := newCall(w, r)
	if err != nil {
		errorAnswer(err).writeTo(sent)
		return
	}
	c.asleep = func() { s.flights.settle(f) }
	for {
		a, err := s.attempt(sent, r, c, f)
		switch {
		case err == nil && a == nil: // a fault has seen to it
			return
		case err == nil:
			a.writeTo(sent)
			return
		case (errors.Is(err, errFaultComes) || errors.Is(err, errFaultGoes)) && !f.sent.Load():
			c.atOnce = errors.Is(err, errFaultComes)
		default: // the client has gone, the agent was stopped, or a fault wants it so
			panic(http.ErrAbortHandler)
		}
	}
}

func (s *Server) attempt(w http.ResponseWriter, r *http.Request, c *call, f *flight) (*Answer, error) {
	ctx, cancel, faults := s.flights.depart(f, r)
	defer cancel(nil)
	next := func() (*Answer, error) {
		own := *c
		own.ctx = ctx
		return s.backend.answer(&own)
	}
	for _, fault := range faults {
		x := &Exchange{Context: ctx, Writer: w, Request: r, Next: next, call: c}
		next = func() (*Answer, error) { return fault.Do(x) }
	}
	return next()
}

// sender notes when an answer begins, and its status.
type sender struct {
	http.ResponseWriter
	flight *flight
}

func (s *sender) WriteHeader(status int) {
	s.flight.status.Store(int32(status))
	s.flight.sent.Store(true)
	s.ResponseWriter.WriteHeader(status)
}

func (s *sender) Write(b []byte) (int, error) {
	if !s.flight.sent.Load() {
		s.WriteHeader(http.StatusOK)
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (s *sender) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Exchange is one request as a fault sees it.
type Exchange struct {
	Context context.Context // ends when the client goes, the agent stops, or a fault comes or goes
	Writer  http.ResponseWriter
	Request *http.Request

	// Next is what would have been done without this fault. A nil answer
	// without an error means that the request was dealt with already.
	Next func() (*Answer, error)

	call *call
}
