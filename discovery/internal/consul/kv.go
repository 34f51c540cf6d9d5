package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// What is done with keys apart from watching them: writes by compare-and-set, and
// consistent reads. A dc that is empty is the agent's own. Errors are put into words, and
// IsDenial knows those that a better token would allow.

// PutKey writes a key by compare-and-set: cas is the ModifyIndex that it must have, 0 that
// it must not be there. made is false when that failed. After an error it may have been
// written all the same.
func (c *Client) PutKey(ctx context.Context, dc, key string, value []byte, cas uint64, timeout time.Duration) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, o := &exchange{takesBody: true}, &api.WriteOptions{Datacenter: dc, Token: c.Token()}
	_, _, err = c.api.KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: cas}, o.WithContext(x.in(ctx)))
	return c.made(ctx, key, x, err)
}

// DeleteKey deletes a key by compare-and-set, as PutKey writes one.
func (c *Client) DeleteKey(ctx context.Context, dc, key string, cas uint64, timeout time.Duration) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, o := &exchange{takesBody: true}, &api.WriteOptions{Datacenter: dc, Token: c.Token()}
	_, _, err = c.api.KV().DeleteCAS(&api.KVPair{Key: key, ModifyIndex: cas}, o.WithContext(x.in(ctx)))
	return c.made(ctx, key, x, err)
}

// made is what the answer x to a write of key says, whose error is err. Consul's
// client takes every answer for a success in which there is "true" somewhere.
func (c *Client) made(ctx context.Context, key string, x *exchange, err error) (bool, error) {
	if err != nil {
		return false, c.explainKey(ctx, key, "key:write", err)
	}
	switch string(bytes.TrimSpace(x.body)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("understand the answer: it is neither true nor false")
}

// ReadKey reads a key consistently; nil: it is absent.
func (c *Client) ReadKey(ctx context.Context, dc, key string, timeout time.Duration) (*api.KVPair, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o := &api.QueryOptions{Datacenter: dc, Token: c.Token(), RequireConsistent: true}
	pair, isAbsent, meta, err := c.Key(ctx, key, o)
	if err != nil {
		return nil, c.explainKey(ctx, key, "key:read", err)
	}
	if err := absence(isAbsent, meta); err != nil {
		return nil, err
	}
	if isAbsent {
		return nil, nil
	}
	if pair == nil || pair.Key != key {
		return nil, errors.New("understand the answer: it is not about the key")
	}
	return pair, nil
}

// List is what a consistent read of the keys of a folder has found.
type List struct {
	Pairs api.KVPairs
	Index uint64 // to wait on for a change
}

// ListKeys reads all keys of a folder consistently, whose name ends with a slash. The
// entry of the folder itself, which Consul's UI makes, and the folders in it are left
// out. It fails where the token may not see all of them.
func (c *Client) ListKeys(ctx context.Context, dc, folder string, timeout time.Duration) (List, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, token := &exchange{}, c.Token()
	o := &api.QueryOptions{Datacenter: dc, Token: token, RequireConsistent: true}
	pairs, meta, err := c.api.KV().List(folder, o.WithContext(x.in(ctx)))
	if err != nil {
		return List{}, c.explainKey(ctx, folder, "key:list and key:read", err)
	}
	if err := absence(x.status == http.StatusNotFound, meta); err != nil {
		return List{}, err
	}
	switch {
	case meta.ResultsFilteredByACLs:
		return List{}, denial{fmt.Errorf("denied: Consul left keys out that the token may not read; it needs key:read for %s", text.Quoted(folder))}
	case len(pairs) == 0 && token == "" && meta.DefaultACLPolicy == "deny":
		return List{}, denial{fmt.Errorf("denied: the list is empty, no token was sent and Consul's default policy is deny; give a token with key:read for %s", text.Quoted(folder))}
	}
	if len(pairs) == 0 && x.status != http.StatusNotFound {
		return List{}, errors.New("understand the answer: it is empty, for which Consul has the status 404")
	}
	list := List{Index: meta.LastIndex}
	for _, p := range pairs {
		if p == nil || !strings.HasPrefix(p.Key, folder) {
			return List{}, errors.New("understand the answer: it is not about keys below the prefix")
		}
		if name := p.Key[len(folder):]; name != "" && !strings.Contains(name, "/") {
			list.Pairs = append(list.Pairs, p)
		}
	}
	return list, nil
}

// AwaitChange returns when a key below prefix may have changed since index, wait
// has passed, or the answer could not be had. It is a hint: a long poll may be blind.
func (c *Client) AwaitChange(ctx context.Context, dc, prefix string, index uint64, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait*17/16+2*time.Second)
	defer cancel()
	o := &api.QueryOptions{Datacenter: dc, Token: c.Token(), WaitIndex: index, WaitTime: wait}
	_, _, err := c.api.KV().Keys(prefix, "", o.WithContext(ctx))
	return err
}

// absence says what is wrong with an answer by which something may be absent.
func absence(isAbsent bool, meta *api.QueryMeta) error {
	if isAbsent && meta.LastIndex == 0 {
		return ErrNotConsuls
	}
	return NoLeader(meta)
}

// explainKey is err in words; nil for none.
func (c *Client) explainKey(ctx context.Context, key, rights string, err error) error {
	if err == nil {
		return nil
	}
	return c.Explain(ctx, err, rights+" for "+text.Quoted(key))
}
