package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

func startRosproxy(o Options, routes []route) (*Proxy, error) {
	admin := filepath.Join(o.Dir, "rosproxy.sock")
	args := []string{"--admin-listen", "unix:" + admin, "--log-level", "warn"}
	for _, r := range routes {
		args = append(args, "--listen", r.name+"="+r.at.String())
		if o.Consul == "" {
			args = append(args, "--static-master", r.name+"="+r.to)
		}
	}
	if o.Consul != "" {
		args = append(args, "--consul-addr", o.Consul)
	}
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "rosproxy.log"), User: o.User}, o.Rosproxy, args...)
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process, admin: admin}, nil
}

// Failover is what rosproxy says of its last one.
type Failover struct {
	ID      string  `json:"id"`
	Dropped int     `json:"dropped"`
	FenceUS float64 `json:"fence_us"`
	CutMS   float64 `json:"cut_ms"`
}

// LastFailover asks rosproxy; nil: there was none.
func (p *Proxy) LastFailover(ctx context.Context) (*Failover, error) {
	c := http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.admin)
		}},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rosproxy/status", nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask rosproxy for its status: %w", err)
	}
	defer answer.Body.Close()
	var status struct {
		Labels []struct {
			LastFailover *Failover `json:"last_failover"`
		} `json:"labels"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		return nil, fmt.Errorf("read rosproxy's status: %w", err)
	}
	if len(status.Labels) != 1 {
		return nil, errors.New("read rosproxy's status: not one label")
	}
	return status.Labels[0].LastFailover, nil
}
