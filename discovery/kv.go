package discovery

import (
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
// consistent reads.

// putKey writes a key by compare-and-set. made is false when that failed.
func (a *agent) putKey(ctx context.Context, dc, key string, value []byte, cas uint64, timeout time.Duration) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o := &api.WriteOptions{Datacenter: dc, Token: a.token.get()}
	made, _, err = a.client.KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: cas}, o.WithContext(ctx))
	return made, a.refusedKey(ctx, key, "key:write", err)
}

// deleteKey deletes a key by compare-and-set.
func (a *agent) deleteKey(ctx context.Context, dc, key string, cas uint64, timeout time.Duration) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o := &api.WriteOptions{Datacenter: dc, Token: a.token.get()}
	made, _, err = a.client.KV().DeleteCAS(&api.KVPair{Key: key, ModifyIndex: cas}, o.WithContext(ctx))
	return made, a.refusedKey(ctx, key, "key:write", err)
}

// readKey reads a key consistently; nil: it is absent.
func (a *agent) readKey(ctx context.Context, dc, key string, timeout time.Duration) (*api.KVPair, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x := &exchange{}
	o := &api.QueryOptions{Datacenter: dc, Token: a.token.get(), RequireConsistent: true}
	pair, meta, err := a.client.KV().Get(key, o.WithContext(x.in(ctx)))
	if err != nil {
		return nil, a.refusedKey(ctx, key, "key:read", err)
	}
	if err := absence(x, meta); err != nil {
		return nil, err
	}
	if x.status == http.StatusNotFound {
		return nil, nil
	}
	if pair == nil || pair.Key != key {
		return nil, errors.New("understand the answer: it is not about the key")
	}
	return pair, nil
}

// list is what a consistent read of all keys below a prefix has found.
type list struct {
	pairs api.KVPairs
	index uint64 // to wait on for a change
}

// listKeys reads all keys below prefix consistently. It fails where the token may
// not see all of them.
func (a *agent) listKeys(ctx context.Context, dc, prefix string, timeout time.Duration) (list, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, token := &exchange{}, a.token.get()
	o := &api.QueryOptions{Datacenter: dc, Token: token, RequireConsistent: true}
	pairs, meta, err := a.client.KV().List(prefix, o.WithContext(x.in(ctx)))
	if err != nil {
		return list{}, a.refusedKey(ctx, prefix, "key:list and key:read", err)
	}
	if err := absence(x, meta); err != nil {
		return list{}, err
	}
	switch {
	case meta.ResultsFilteredByACLs:
		return list{}, denial{fmt.Errorf("denied: Consul left keys out that the token may not read; it needs key:read for %s", text.Quoted(prefix))}
	case len(pairs) == 0 && token == "" && meta.DefaultACLPolicy == "deny":
		return list{}, denial{fmt.Errorf("denied: the list is empty, no token was sent and Consul's default policy is deny; give a token with key:read for %s", text.Quoted(prefix))}
	}
	for _, p := range pairs {
		if !strings.HasPrefix(p.Key, prefix) {
			return list{}, errors.New("understand the answer: it is not about keys below the prefix")
		}
	}
	return list{pairs, meta.LastIndex}, nil
}

// awaitChange returns when a key below prefix may have changed since index, wait
// has passed, or the answer could not be had. It is a hint: a long poll may be blind.
func (a *agent) awaitChange(ctx context.Context, dc, prefix string, index uint64, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait*17/16+2*time.Second)
	defer cancel()
	o := &api.QueryOptions{Datacenter: dc, Token: a.token.get(), WaitIndex: index, WaitTime: wait}
	_, _, err := a.client.KV().Keys(prefix, "", o.WithContext(ctx))
	return err
}

// absence says what is wrong with an answer by which something may be absent.
func absence(x *exchange, meta *api.QueryMeta) error {
	if x.status == http.StatusNotFound && meta.LastIndex == 0 {
		return errNotConsuls
	}
	return noLeader(meta)
}

// denial is the error of an answer that the token does not suffice for.
type denial struct{ error }

// refusedKey is err in words; nil for none.
func (a *agent) refusedKey(ctx context.Context, key, rights string, err error) error {
	var status api.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		out := refusal(status.Code, status.Body, rights+" for "+text.Quoted(key))
		if out.kind == denied {
			return denial{out.err}
		}
		return out.err
	}
	return a.trouble(ctx, err)
}
