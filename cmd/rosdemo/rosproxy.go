package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// rosproxy is one instance of it.
type rosproxy struct {
	name    string
	listen  string // where clients connect
	admin   string
	process *process

	ready atomic.Bool // what its /readyz said last

	mu  sync.Mutex
	log []failover
}

// failover is a line of rosproxy's log.
type failover struct {
	Message string   `json:"message"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Epoch   uint64   `json:"epoch"`
	Dropped int      `json:"dropped"`
	Carried int      `json:"carried"`
	FenceUS float64  `json:"fence_us"`
	CutMS   float64  `json:"cut_ms"`
	Detect  *float64 `json:"detect_ms"`

	seen time.Time // when the line arrived here: the cut is done
}

// startRosproxy runs an instance as an operator would: with flags, nothing else.
func startRosproxy(name, program, dir string, c *consul, flags ...string) (*rosproxy, error) {
	var addrs [2]string
	for i := range addrs {
		port, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		addrs[i] = freeport.Loopback(port)
	}
	r := &rosproxy{name: name, listen: addrs[0], admin: addrs[1]}
	args := slices.Concat([]string{
		"--listen", c.label + "=" + r.listen, "--admin-listen", r.admin, "--log-format", "json",
	}, c.flags, flags)
	p, err := startProcess(dir, name, c.env, r.read, program, args...)
	if err != nil {
		return nil, err
	}
	r.process = p
	return r, nil
}

// read takes one line of the log.
func (r *rosproxy) read(line []byte) {
	if !bytes.Contains(line, []byte(`"failover"`)) {
		return
	}
	f := failover{seen: time.Now()}
	if json.Unmarshal(line, &f) != nil || f.Message != "failover" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, f)
}

// failoverTo finds the newest failover to the address that was seen after t.
func (r *rosproxy) failoverTo(address string, t time.Time) (failover, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range slices.Backward(r.log) {
		if f.To == address && f.seen.After(t) {
			return f, true
		}
	}
	return failover{}, false
}

// failovers counts them, the first master that was found included.
func (r *rosproxy) failovers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.log)
}

// drainState is the answer of /drain.
type drainState struct {
	State     string `json:"state"`
	Active    int    `json:"active"`
	Accepting bool   `json:"accepting"`
}

// drain asks the instance to drain and exit, or with GET how it is doing.
func (r *rosproxy) drain(ctx context.Context, method string, grace time.Duration) (drainState, error) {
	url := "http://" + r.admin + "/drain"
	if method == http.MethodPost {
		url += "?exit=true&grace=" + grace.String()
	}
	var s drainState
	code, err := call(ctx, method, url, &s)
	if err == nil && code/100 != 2 {
		err = fmt.Errorf("status %d", code)
	}
	if err != nil {
		return s, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return s, nil
}

// probe asks /readyz, as a load balancer does.
func (r *rosproxy) probe(ctx context.Context) {
	code, err := call(ctx, http.MethodGet, "http://"+r.admin+"/readyz", nil)
	r.ready.Store(err == nil && code == http.StatusOK)
}

// probes keeps no connections: an instance that exits must not wait for them.
var probes = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// call makes one request and decodes a JSON answer into out, if that is not nil.
func call(ctx context.Context, method, url string, out any) (code int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := probes.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && out != nil {
		err = json.Unmarshal(body, out)
	}
	return resp.StatusCode, err
}

// milliseconds writes a part of one as well: "0.8 ms", "12 ms".
func milliseconds(ms float64) string {
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}
