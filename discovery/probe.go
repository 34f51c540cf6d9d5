package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// prober asks the REST API of a new leader whether it is ready, again and again
// until it is. It is asked after an election only: who is master is never judged
// by it. Probes overlap, since one that hangs must not keep the next from being
// answered.
//
// One goroutine owns it: it calls the methods and takes what comes from results.
type prober struct {
	client  *http.Client
	results chan probeResult

	url   string // that is being asked; empty: none
	term  int
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// probeResult is what a leader's REST API has said.
type probeResult struct {
	term int
	why  string // for what it is not ready; empty: it is
}

const (
	probeTimeout = time.Second
	firstProbes  = 25 * time.Millisecond // between the first
	maxProbes    = 4                     // in flight
)

// newProber makes one that trusts the certificates that the system trusts.
func newProber() *prober {
	return &prober{
		results: make(chan probeResult),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil,
				DialContext:            (&net.Dialer{Timeout: probeTimeout}).DialContext,
				MaxIdleConnsPerHost:    maxProbes,
				IdleConnTimeout:        5 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ask probes the API at url for the leader of a term, until it is ready or
// another is asked for. An empty url: none.
func (p *prober) ask(ctx context.Context, url string, term int) {
	if url == p.url && term == p.term {
		return
	}
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	p.url, p.term = url, term
	if url == "" {
		return
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.tasks.Go(func() { p.run(ctx, url, term) })
}

// close ends all probes, and returns when none runs any more.
func (p *prober) close() {
	if p.stop != nil {
		p.stop()
	}
	p.tasks.Wait()
	p.client.CloseIdleConnections()
}

// run reports each change of what the API says.
func (p *prober) run(ctx context.Context, url string, term int) {
	var probes sync.WaitGroup
	defer probes.Wait()
	began, answers, flying := time.Now(), make(chan error, maxProbes), 0
	said := ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if flying < maxProbes {
				flying++
				probes.Go(func() { answers <- p.probe(ctx, url) })
			}
			timer.Reset(probePace(time.Since(began)))
		case err := <-answers:
			flying--
			if why := explain(err); why != said || err == nil {
				said = why
				p.send(ctx, probeResult{term: term, why: why})
			}
			if err == nil {
				return
			}
		}
	}
}

func (p *prober) send(ctx context.Context, r probeResult) {
	select {
	case p.results <- r:
	case <-ctx.Done():
	}
}

// explain is err in words; empty for none.
func explain(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// probePace is how long to wait with the next probe, after probing for so long:
// a twentieth of that, so that next to nothing is lost by it.
func probePace(since time.Duration) time.Duration {
	return min(max(since/20, firstProbes), time.Second)
}

// probe asks once. nil: it is ready.
func (p *prober) probe(ctx context.Context, root string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, root+"/primary", nil)
	if err != nil {
		return errors.New("its REST API has an address that cannot be asked")
	}
	req.Header.Set("User-Agent", "rosproxy")
	resp, err := p.client.Do(req)
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errNoAnswer
		}
		return fmt.Errorf("its REST API does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIBody+1))
	if err != nil {
		return fmt.Errorf("its REST API does not answer: %w", errNoAnswer)
	}
	return readiness(resp.StatusCode, body)
}

// maxAPIBody is the most that is read of an answer of a REST API.
const maxAPIBody = 64 << 10

// readiness understands the answer to GET /primary. nil: the member is ready.
//
// Patroni answers 200 from the moment on when the member holds the lock
// (patroni/api.py: do_GET), and until it is promoted says in the body that its
// role is that of a replica: one that refuses to write (measured with 3.0.2, 4.2 s
// of it with a pre_promote of 4 s). A body without a role says nothing of it.
func readiness(status int, body []byte) error {
	if status != http.StatusOK {
		return fmt.Errorf("its REST API answers with status %d", status)
	}
	if len(body) > maxAPIBody {
		return fmt.Errorf("its REST API answers with more than %d KiB", maxAPIBody>>10)
	}
	var said struct {
		Role *string `json:"role"`
	}
	if err := json.Unmarshal(body, &said); err != nil || said.Role == nil {
		return nil
	}
	switch *said.Role {
	case "master", "primary": // before Patroni 4, and since
		return nil
	}
	return fmt.Errorf("its REST API says that its role is %s", text.Quoted(*said.Role))
}

// errNoAnswer says that nothing came, or not all of it.
var errNoAnswer = errors.New("no complete answer in time")
