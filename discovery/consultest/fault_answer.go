package consultest

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

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

// Absent answers 404 for a key that is there, under the index it has: what a
// server says that has lost it, or not got it yet.
func Absent() Fault {
	return Edit("absent", func(a *Answer) {
		a.Status, a.Body = http.StatusNotFound, nil
		a.Header.Del("Content-Type")
	}).On("/v1/kv/")
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
