package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// ErrNotConsuls says that a page was not found, and no key missed: with that Consul
// gives the index to wait for one on (agent/consul/kvs_endpoint.go: Get).
var ErrNotConsuls = errors.New("status 404 without an index, which is not Consul's; check the address and its path")

// ErrNoAnswer says that nothing came, or not all of it.
var ErrNoAnswer = errors.New("no complete answer in time")

// denial is the error of an answer that the token does not suffice for.
type denial struct{ error }

// IsDenial reports whether err, of a Client, says that the token does not suffice.
func IsDenial(err error) bool {
	var no denial
	return errors.As(err, &no)
}

// Explain turns err, of Service or Key, into what an operator should read. rights are
// what the token needs. After a timeout, which ctx tells, it has the next request go
// over another connection.
func (c *Client) Explain(ctx context.Context, err error, rights string) error {
	var status api.StatusError
	if errors.As(err, &status) {
		return Refusal(status.Code, status.Body, rights)
	}
	return c.trouble(ctx, err)
}

// Refusal is what an answer with another status than 200 means. All of them
// are unknown: 500 without a leader, 429 and 503 at a limit, 403 for a token
// that Consul does not know or that was revoked. rights are what the token
// needs.
func Refusal(status int, body, rights string) error {
	err := fmt.Errorf("status %d: %s", status, text.Quoted(strings.TrimSpace(body)))
	if status == http.StatusForbidden || status == http.StatusUnauthorized {
		return denial{fmt.Errorf("denied: %w; give a token with %s", err, rights)}
	}
	return err
}

// NoLeader says that the server that answered knows no leader; nil: it does. It
// judges only where the answer did not come from the streaming backend,
// which never knows a leader (measured on v1.15.4: agent/submatview sets no
// KnownLeader). The header is documented in api-docs/features/consistency.
func NoLeader(meta *api.QueryMeta) error {
	if meta.QueryBackend == api.QueryBackendBlockingQuery && !meta.KnownLeader {
		return errors.New("the server knows no leader")
	}
	return nil
}
