package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// Bounds of a question to an instance.
const (
	dialTimeout   = 3 * time.Second
	answerTimeout = 10 * time.Second // for the whole of it
	listTimeout   = time.Minute      // for a list of connections, which an instance writes for half of that
	maxAnswer     = 64 << 20         // 4,096 labels with their events
	maxHeader     = 64 << 10
	maxError      = 8 << 10
)

// instance is a running rosproxy, by its admin endpoints.
type instance struct {
	name      string // HOST:PORT or unix:PATH
	endpoint  config.Endpoint
	tokenFile string
	http      *http.Client
	patience  time.Duration // for an answer
	room      int           // for an answer, in bytes
}

func newInstance(e config.Endpoint, tokenFile string) *instance {
	i := &instance{name: e.String(), endpoint: e, tokenFile: tokenFile, patience: answerTimeout, room: maxAnswer}
	i.http = &http.Client{
		// The token is for this instance, and for nobody that it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy
			DialContext:            i.dial,
			MaxResponseHeaderBytes: maxHeader,
			MaxConnsPerHost:        2,
			IdleConnTimeout:        answerTimeout,
		},
	}
	return i
}

func (i *instance) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, i.endpoint.Network, i.endpoint.Address)
}

func (i *instance) close() { i.http.CloseIdleConnections() }

// refusal is an answer whose code is not of success.
type refusal struct {
	code int
	says string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%d %s: %s", r.code, http.StatusText(r.code), r.says)
}

// ask asks one endpoint and decodes its JSON into v, which is a pointer. The time
// is that of the answer by the instance's clock.
func (i *instance) ask(ctx context.Context, method, path string, query url.Values, v any) (at time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, i.patience, fmt.Errorf("no answer within %v", i.patience))
	defer cancel()
	r, err := i.open(ctx, method, path, query)
	if err != nil {
		return at, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(i.room)+1))
	switch {
	case err != nil:
		return at, i.explain(ctx, method, path, err)
	case len(body) > i.room:
		return at, fmt.Errorf("%s %s: the answer is longer than %d bytes", method, path, i.room)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return at, fmt.Errorf("%s %s: not the answer of a rosproxy: %w", method, path, err)
	}
	return clockOf(r.Header.Get("Date"), time.Now()), nil
}

// clockOf is the time of an answer by the clock of who gave it, as far as that
// matters: date, which it has in its head, has no fractions of a second.
func clockOf(date string, now time.Time) time.Time {
	at, err := http.ParseTime(date)
	if off := now.Sub(at); err != nil || off > -time.Second && off < 2*time.Second {
		return now
	}
	return at
}

// open asks one endpoint. Its answer is one of success; the body is not bounded.
func (i *instance) open(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "rosproxy", Path: path, RawQuery: query.Encode()}
	if i.endpoint.Network == "tcp" {
		u.Host = i.endpoint.Address
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://rosproxy", nil)
	if err != nil {
		return nil, err
	}
	r.URL, r.Host = &u, u.Host
	if i.tokenFile != "" {
		token, err := config.ReadToken(i.tokenFile) // each time: it may have been changed
		if err != nil {
			return nil, fmt.Errorf("read the token file: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := i.http.Do(r)
	if err != nil {
		return nil, i.explain(ctx, method, path, err)
	}
	if a.StatusCode/100 != 2 {
		defer a.Body.Close()
		return nil, fmt.Errorf("%s %s: %w", method, path, refusalOf(a))
	}
	return a, nil
}

// explain says in few words why there is no answer: who was asked is said elsewhere.
func (i *instance) explain(ctx context.Context, method, path string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s %s: %w", method, path, cause)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s %s: %w", method, path, err)
}

func refusalOf(a *http.Response) *refusal {
	body, err := io.ReadAll(io.LimitReader(a.Body, maxError))
	var e api.Error
	if err != nil || json.Unmarshal(body, &e) != nil || e.Error == "" {
		return &refusal{a.StatusCode, "not the answer of a rosproxy"}
	}
	return &refusal{a.StatusCode, e.Error}
}
