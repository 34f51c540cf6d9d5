package operator

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// TestErrorIsADenialOnlyWhereAllDeny: another address may answer the next time.
func TestErrorIsADenialOnlyWhereAllDeny(t *testing.T) {
	agents, err := consul.NewClients([]string{"127.0.0.1:1", "127.0.0.1:2"}, hostname.SystemLookup)
	if err != nil {
		t.Fatal(err)
	}
	denied, down := consul.Refusal(http.StatusForbidden, "Permission denied", "key:read"), errors.New("connection refused")
	for _, c := range []struct {
		first, second error
		want          bool
	}{{denied, denied, true}, {denied, down, false}, {down, denied, false}, {down, down, false}} {
		answered := make(chan struct{})
		_, err := race(t.Context(), agents, func(ctx context.Context, a *consul.Client) (int, error) {
			if a == agents[0] {
				defer close(answered)
				return 0, c.first
			}
			<-answered
			time.Sleep(10 * time.Millisecond)
			return 0, c.second
		})
		if err == nil || consul.IsDenial(err) != c.want {
			t.Errorf("%v, then %v: got %v, a denial %v; want %v", c.first, c.second, err, consul.IsDenial(err), c.want)
		}
	}
}

// TestListOfOtherKeysIsNoListOfReports: somebody between here and Consul answers from his memory.
func TestListOfOtherKeysIsNoListOfReports(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	obeyed := fence.Entry{Instance: "p1", PID: 1, TTL: 5, Labels: map[string]fence.State{"default": {Obeyed: 1}}}
	s.SetKey(reportsAt+"/p1-1-x", string(obeyed.Encode()))
	s.Inject(consultest.Body(`[{"Key":"x","Value":"e30=","ModifyIndex":1}]`).On("/v1/kv/").Times(1))
	w, err := NewFenceWait(Election{Addresses: []string{s.Addr}, Prefix: reportsAt, Label: "default", Index: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.RequestsTo("/v1/kv/")); n < 2 {
		t.Errorf("got %d requests; want the reports read again", n)
	}
}

// TestActivationThatMayNotWriteHasChangedNothing, and leaves nobody held.
func TestActivationThatMayNotWriteHasChangedNothing(t *testing.T) {
	t.Parallel()
	s, err := consultest.Listen(consultest.Config{Mirrors: []string{"dc2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Inject(consultest.Status(http.StatusForbidden, "Permission denied").When(func(r *http.Request) bool { return r.Method == http.MethodPut }))
	done, err := Activate(t.Context(), Activation{
		Addresses: []string{s.Addr}, Datacenters: []string{"dc1", "dc2"}, Key: "active", Prefixes: []string{reportsAt}, Target: "dc1", By: "caller",
	})
	if !consul.IsDenial(err) || done.Changed || done.Nobody {
		t.Errorf("got %+v, %v; want it denied, and nothing changed", done, err)
	}
}
