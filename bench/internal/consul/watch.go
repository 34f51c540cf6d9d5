package consul

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Watch asks Consul as barely as can be: one long poll after the other, whose
// answers are read whole and not decoded. It is the bound of what anybody who
// follows Consul so can reach.
type Watch struct {
	agent  *Agent
	path   string
	params url.Values
	client http.Client

	mu     sync.Mutex
	wanted func(Answer) bool
	found  chan error
	failed error

	reading bytes.Buffer // of ReadConsistently
}

// Answer is what Consul said.
type Answer struct {
	Status int
	Body   []byte // only until the next answer
	index  string
}

// Watch begins to ask and returns when there has been an answer. It ends with ctx.
func (a *Agent) Watch(ctx context.Context, path string, params url.Values) (*Watch, error) {
	w := &Watch{agent: a, path: path, params: params, client: http.Client{Transport: &http.Transport{}}} // no HTTP_PROXY
	body := &bytes.Buffer{}
	first, err := w.ask(ctx, body, nil)
	if err != nil {
		return nil, err
	}
	go w.run(ctx, body, first.index)
	return w, nil
}

// Until returns what gives a value as soon as an answer, of those that are yet
// to come, is one that is wanted.
func (w *Watch) Until(wanted func(Answer) bool) <-chan error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted, w.found = wanted, make(chan error, 1)
	if w.failed != nil {
		w.found <- w.failed
	}
	return w.found
}

// ReadConsistently asks the same once, and the leader makes sure that it still
// leads. It is not to be called twice at a time.
func (w *Watch) ReadConsistently(ctx context.Context) (Answer, error) {
	return w.ask(ctx, &w.reading, url.Values{"consistent": {""}})
}

func (w *Watch) run(ctx context.Context, body *bytes.Buffer, index string) {
	defer w.client.CloseIdleConnections()
	for {
		a, err := w.ask(ctx, body, url.Values{"index": {index}, "wait": {"60s"}})
		w.tell(a, err)
		if err != nil {
			return
		}
		index = a.index
	}
}

// tell lets whoever waits know.
func (w *Watch) tell(a Answer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed = err
	}
	if w.wanted != nil && (err != nil || w.wanted(a)) {
		w.found <- err
		w.wanted = nil
	}
}

// ask puts the question with more parameters, and reads the answer into body.
func (w *Watch) ask(ctx context.Context, body *bytes.Buffer, more url.Values) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second)
	defer cancel()
	all := url.Values{}
	for _, from := range []url.Values{w.params, more} {
		for name, values := range from {
			all[name] = values
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.agent.HTTP+w.path+"?"+all.Encode(), http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return Answer{}, fmt.Errorf("ask consul: %w", err)
	}
	defer answer.Body.Close()
	body.Reset()
	if _, err := body.ReadFrom(answer.Body); err != nil {
		return Answer{}, fmt.Errorf("read consul's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNotFound {
		return Answer{}, fmt.Errorf("ask consul: %s: %s", answer.Status, bytes.TrimSpace(body.Bytes()))
	}
	return Answer{Status: answer.StatusCode, Body: body.Bytes(), index: answer.Header.Get("X-Consul-Index")}, nil
}
