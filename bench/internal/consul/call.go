package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// call makes one call of the HTTP API; in and out may be nil. In is JSON, or raw
// bytes.
func (a *Agent) call(ctx context.Context, method, path string, in, out any) error {
	return callAt(ctx, &a.client, method, "http://"+a.HTTP+path, in, out)
}

// callAt is call at a URL.
func callAt(ctx context.Context, client *http.Client, method, url string, in, out any) error {
	var body io.Reader = http.NoBody
	if raw, ok := in.([]byte); ok {
		body = bytes.NewReader(raw)
	} else if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
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
