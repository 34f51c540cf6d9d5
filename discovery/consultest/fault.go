package consultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Edit changes the answers.
func Edit(name string, change func(*Answer)) Fault {
	return Fault{Name: name, Do: func(x *Exchange) (*Answer, error) {
		a, err := x.Next()
		if a != nil && err == nil {
			change(a)
		}
		return a, err
	}}
}

// Status answers at once with a code and a text: 500 "No cluster leader",
// 429, 503, 403 "ACL not found", ...
func Status(code int, text string) Fault {
	return Fault{Name: "status " + strconv.Itoa(code), Do: func(*Exchange) (*Answer, error) {
		return plain(code, text), nil
	}}
}

// NearUnsupported answers 400 to queries with near=, as very old servers may.
func NearUnsupported() Fault {
	f := Status(http.StatusBadRequest, "Invalid value for ?near")
	f.Name = "near unsupported"
	return f.When(func(r *http.Request) bool { return r.URL.Query().Has("near") })
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

// Index puts value in place of X-Consul-Index; empty: the header is missing.
func Index(value string) Fault {
	return Edit(fmt.Sprintf("index %q", value), func(a *Answer) {
		if a.Header.Del("X-Consul-Index"); value != "" {
			a.Header.Set("X-Consul-Index", value)
		}
	})
}

// IndexBack takes n off the index, which stays above 0.
func IndexBack(n uint64) Fault {
	return Edit("index back", func(a *Answer) {
		if i := a.Index(); i > n {
			a.SetIndex(i - n)
		} else if i > 0 {
			a.SetIndex(1)
		}
	})
}

// SameIndex keeps the index where it is now, whatever the body says.
func (s *Server) SameIndex() Fault {
	i := s.Index()
	f := Edit("same index", func(a *Answer) {
		if a.Header.Get("X-Consul-Index") != "" {
			a.SetIndex(i)
		}
	})
	return f
}

// Body puts text in place of the body of a good answer: garbage, "null", "[{}]", "[]".
func Body(text string) Fault {
	return Edit(fmt.Sprintf("body %.20q", text), func(a *Answer) {
		if a.Status == http.StatusOK {
			a.Body = []byte(text)
		}
	})
}

// Junk answers 200 with the beginning of a list and then size bytes of nothing.
func Junk(size int64) Fault {
	return Fault{Name: "junk", Do: func(x *Exchange) (*Answer, error) {
		h := x.Writer.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Consul-Index", "4611686018427387904") // taken at its word it would blind the client for good
		h.Set("X-Consul-Knownleader", "true")
		x.Writer.WriteHeader(http.StatusOK)
		if err := x.push([]byte("[")); err != nil {
			return nil, err
		}
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for size := size; size > 0 && x.Context.Err() == nil; size -= int64(len(chunk)) {
			if err := x.push(chunk[:min(size, int64(len(chunk)))]); err != nil {
				return nil, err
			}
		}
		return nil, x.push([]byte("]"))
	}}
}

// Denied answers 200 with an empty list, as to a token without rights, and says so in X-Consul-Results-Filtered-By-ACLs.
func Denied() Fault {
	return denied("denied", func(a *Answer) {
		a.Header.Set("X-Consul-Results-Filtered-By-Acls", "true")
		a.Header.Set("X-Consul-Default-Acl-Policy", "deny")
	})
}

// DeniedByDefault answers 200 with an empty list; only X-Consul-Default-ACL-Policy hints at why.
func DeniedByDefault() Fault {
	return denied("denied by default", func(a *Answer) {
		a.Header.Set("X-Consul-Default-Acl-Policy", "deny")
	})
}

// DeniedSilently answers 200 with an empty list and no hint at all.
func DeniedSilently() Fault {
	return denied("denied silently", func(*Answer) {})
}

func denied(name string, hint func(*Answer)) Fault {
	return Edit(name, func(a *Answer) {
		a.Body = []byte("[]\n")
		hint(a)
	}).On("/v1/health/service/")
}

// NoSnapshot answers blocking health queries at once with 200, an empty list
// and index 1, as the streaming backend does before its first snapshot.
func NoSnapshot() Fault {
	return Fault{
		Name: "no snapshot", Path: "/v1/health/service/",
		Match: func(r *http.Request) bool {
			q := r.URL.Query()
			return q.Has("index") && q.Get("index") != "0" && !q.Has("near")
		},
		Do: func(*Exchange) (*Answer, error) {
			a := jsonAnswer([]string{})
			a.SetIndex(1)
			a.Header.Set("X-Consul-Knownleader", "false")
			a.Header.Set("X-Consul-Lastcontact", "0")
			a.Header.Set("X-Consul-Query-Backend", "streaming")
			a.Header.Set("X-Consul-Default-Acl-Policy", "allow")
			a.Header.Set("X-Consul-Effective-Consistency", "leader")
			return a, nil
		},
	}
}

// NoLeader sets X-Consul-KnownLeader to false, and X-Consul-LastContact to how
// long the server has heard of none.
func NoLeader(lastContact time.Duration) Fault {
	return Edit("no leader", func(a *Answer) {
		a.Header.Set("X-Consul-Knownleader", "false")
		a.Header.Set("X-Consul-Lastcontact", strconv.FormatInt(lastContact.Milliseconds(), 10))
	})
}
