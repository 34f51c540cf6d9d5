package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What rosproxy says of itself on its admin socket.

// Failover is what rosproxy says of its last one.
type Failover struct {
	ID      string  `json:"id"`
	Dropped int     `json:"dropped"`
	FenceUS float64 `json:"fence_us"`
	CutMS   float64 `json:"cut_ms"`
}

// LastFailover asks rosproxy; nil: there was none.
func (p *Proxy) LastFailover(ctx context.Context) (*Failover, error) {
	_, text, err := p.ask(ctx, http.MethodGet, "/status")
	if err != nil {
		return nil, err
	}
	var status struct {
		Labels []struct {
			LastFailover *Failover `json:"last_failover"`
		} `json:"labels"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return nil, fmt.Errorf("read rosproxy's status: %w", err)
	}
	if len(status.Labels) != 1 {
		return nil, errors.New("read rosproxy's status: not one label")
	}
	return status.Labels[0].LastFailover, nil
}

// AwaitFailover waits until rosproxy's last failover is another than before.
func (p *Proxy) AwaitFailover(ctx context.Context, before *Failover, limit time.Duration) (*Failover, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		f, err := p.LastFailover(ctx)
		if err == nil && f != nil && (before == nil || f.ID != before.ID) {
			return f, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait %v for a failover: %w", limit, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ListConnections has rosproxy list its connections.
func (p *Proxy) ListConnections(ctx context.Context) error {
	return p.order(ctx, http.MethodGet, "/connections", http.StatusOK)
}

// KillConnections has rosproxy reset its connections, and returns when it says that it has.
func (p *Proxy) KillConnections(ctx context.Context) error {
	return p.order(ctx, http.MethodDelete, "/connections", http.StatusOK)
}

// Drain begins a drain that ends within a time.
func (p *Proxy) Drain(ctx context.Context, within time.Duration) error {
	return p.order(ctx, http.MethodPost, "/drain?grace=0s&timeout="+within.String(), http.StatusAccepted)
}

// Undrain calls a drain off, also one that is over.
func (p *Proxy) Undrain(ctx context.Context) error {
	return p.order(ctx, http.MethodDelete, "/drain", http.StatusOK)
}

func (p *Proxy) order(ctx context.Context, method, path string, want int) error {
	status, text, err := p.ask(ctx, method, path)
	if err == nil && status != want {
		err = fmt.Errorf("rosproxy answers %s %s with %d: %.200s", method, path, status, text)
	}
	return err
}

// AwaitMasters waits until rosproxy is ready, that is every label has a
// master. It looks every 5 ms.
func (p *Proxy) AwaitMasters(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := "nothing"
	for {
		status, text, err := p.ask(ctx, http.MethodGet, "/readyz")
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil:
			last = fmt.Sprintf("%.200s", text)
		case ctx.Err() == nil:
			last = err.Error()
		}
		select {
		case <-p.process.Ended():
			return fmt.Errorf("rosproxy has ended and said: %s", p.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("not every label has a master after %v; /readyz says: %s; the last line of the log: %s", limit, last, lastLine(p.process.Output()))
		case <-tick.C:
		}
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Heap is the memory in use by Go's heap, in bytes.
func (p *Proxy) Heap(ctx context.Context) (float64, error) {
	_, text, err := p.ask(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return 0, err
	}
	return metricIn(text, "go_memstats_heap_inuse_bytes")
}

// metricIn reads one without labels out of what Prometheus would get.
func metricIn(text []byte, name string) (float64, error) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("rosproxy's metrics lack %s", name)
}

// ask asks rosproxy for path by a method.
func (p *Proxy) ask(ctx context.Context, method, path string) (status int, text []byte, err error) {
	c := http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.admin)
		}},
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://rosproxy"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("ask rosproxy for %s %s: %w", method, path, err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("read rosproxy's %s: %w", path, err)
	}
	return answer.StatusCode, text, nil
}
