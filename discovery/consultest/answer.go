package consultest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Answer is a whole answer of the double, which a fault may change before it is sent.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Index is the answer's X-Consul-Index; 0 when it has none that is a number.
func (a *Answer) Index() uint64 {
	i, err := strconv.ParseUint(a.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return 0
	}
	return i
}

// SetIndex sets the answer's X-Consul-Index.
func (a *Answer) SetIndex(i uint64) { a.Header.Set("X-Consul-Index", strconv.FormatUint(i, 10)) }

func (a *Answer) writeTo(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	w.Write(a.Body) // a client that has gone away is no trouble of ours
}

// plain is an answer without a body of JSON, as Consul's errors are.
func plain(status int, text string) *Answer {
	return &Answer{Status: status, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, Body: []byte(text)}
}

func jsonAnswer(v any) *Answer {
	body, err := json.Marshal(v)
	if err != nil { // only values of our own types come here
		return plain(http.StatusInternalServerError, err.Error())
	}
	return &Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: append(body, '\n')}
}

func done() *Answer { return &Answer{Status: http.StatusOK, Header: http.Header{}} }

// statusError is an error that carries the code it is answered with; any
// other is answered with 500, as Consul does.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

func refuse(code int, format string, args ...any) error {
	return &statusError{code, fmt.Sprintf(format, args...)}
}

// saying is an error in Consul's own words, capitals and all.
func saying(format string, args ...any) error {
	return refuse(http.StatusInternalServerError, format, args...)
}

func errorAnswer(err error) *Answer {
	var s *statusError
	if errors.As(err, &s) {
		return plain(s.code, err.Error())
	}
	return plain(http.StatusInternalServerError, err.Error())
}
