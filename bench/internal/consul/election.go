package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
)

// Candidate is an instance of the service that may become master.
type Candidate struct {
	ID      string
	Address netip.AddrPort
}

// Service is the name that candidates are registered under.
const Service = "sync"

// Register writes c into the catalog, as master or as slave, in one write,
// and returns when Consul has it.
//
// A master carries role=master for rosproxy, and the plain tag master for
// those who ask by DNS, where a name may not have the sign of equality.
func (a *Agent) Register(ctx context.Context, c Candidate, master bool) error {
	tags := []string{"label=default", "role=slave"}
	if master {
		tags = []string{"label=default", "role=master", "master"}
	}
	body := map[string]any{
		"Node": "workers", "Address": "127.0.0.1", "SkipNodeUpdate": true,
		"Service": map[string]any{
			"ID": c.ID, "Service": Service, "Tags": tags,
			"Address": c.Address.Addr().String(), "Port": c.Address.Port(),
		},
	}
	if err := a.call(ctx, http.MethodPut, "/v1/catalog/register", body, nil); err != nil {
		return fmt.Errorf("register %s: %w", c.ID, err)
	}
	return nil
}

// Forget takes all candidates out of the catalog.
func (a *Agent) Forget(ctx context.Context) error {
	if err := a.call(ctx, http.MethodPut, "/v1/catalog/deregister", map[string]any{"Node": "workers"}, nil); err != nil {
		return fmt.Errorf("forget the candidates: %w", err)
	}
	return nil
}

// call makes one call of the HTTP API; out may be nil.
func (a *Agent) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.HTTP+path, body)
	if err != nil {
		return err
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
