package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	callTimeout = 2 * time.Second  // one short call
	watchWait   = 10 * time.Second // one long poll

	// The shortest that Consul takes; 0 would mean its default of 15s. A delay
	// protects from a former holder that has not noticed yet. Here the lease
	// has run out before the lock is free, and, whatever clocks do, a former
	// master cannot acknowledge without its slave: a delay would only prolong
	// the outage.
	lockDelay = time.Millisecond
)

// registry is this worker's business with Consul: its registration, its
// session, and the keys of its label.
type registry struct {
	client  *api.Client
	service string
	label   string
	id      string // SYNC_ID
	run     string // incarnation
	address netip.AddrPort
	ttl     time.Duration // of the check
}

// newConsulClient asks the agent at addr for what is in a data centre; empty: in
// the agent's own.
func newConsulClient(addr, datacenter string) (*api.Client, error) {
	c := api.DefaultConfig()
	c.Datacenter = datacenter
	switch host := os.Getenv("CONSUL_HOST"); {
	case addr != "":
		c.Address = addr
	case os.Getenv("CONSUL_HTTP_ADDR") == "" && host != "": // as ROS's deployments set it
		port := os.Getenv("CONSUL_PORT")
		if port == "" {
			port = "8500"
		}
		c.Address = net.JoinHostPort(host, port)
	}
	c.Transport.Proxy = nil // HTTP_PROXY is not for Consul
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("configure consul at %s: %w", c.Address, err)
	}
	return client, nil
}

func (r *registry) serviceID() string { return r.service + "-" + r.label + "-" + r.id }
func (r *registry) checkID() string   { return r.serviceID() + "-" + r.run }
func (r *registry) prefix() string    { return r.service + "/" + r.label + "/" }
func (r *registry) masterKey() string { return r.prefix() + "master" }
func (r *registry) slaveKey() string  { return r.prefix() + "slave" }
func (r *registry) inSyncKey() string { return r.prefix() + "in-sync" }

func (r *registry) write(ctx context.Context) (*api.WriteOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return (&api.WriteOptions{}).WithContext(ctx), cancel
}

// register registers the worker in a role, or changes the role in place, and
// passes its check. The check is registered as passing too: without that every
// change of role would flap it to critical, and take the session along. But
// where Consul knows the check as critical it stays so until it is passed.
//
// The check of an earlier run of the worker goes, and with it that run's
// session and locks: a worker restarted before anybody missed it must not keep
// the locks of its dead self alive (TestMasterRestartedAtOnceGivesUpItsLock).
func (r *registry) register(ctx context.Context, role string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := r.client.Agent().ServiceRegisterOpts(&api.AgentServiceRegistration{
		ID:      r.serviceID(),
		Name:    r.service,
		Tags:    []string{"role=" + role, "label=" + r.label},
		Address: r.address.Addr().String(),
		Port:    int(r.address.Port()),
		Check: &api.AgentServiceCheck{
			CheckID: r.checkID(),
			Name:    "worker is alive",
			TTL:     r.ttl.String(),
			Status:  api.HealthPassing,
		},
	}, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("register %s as %s: %w", r.serviceID(), role, err)
	}
	return r.alive(ctx)
}

func (r *registry) deregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.client.Agent().ServiceDeregisterOpts(r.serviceID(), (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("deregister %s: %w", r.serviceID(), err)
	}
	return nil
}

// alive tells Consul that the worker lives.
func (r *registry) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.ttl/2)
	defer cancel()
	err := r.client.Agent().UpdateTTLOpts(r.checkID(), "", api.HealthPassing, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("pass check %s: %w", r.checkID(), err)
	}
	return nil
}

// openSession opens a session that lives as long as the worker's check passes
// and its node does. That is found out within the check's TTL, where a
// session's own TTL is at least 10s and expires after up to twice that.
func (r *registry) openSession(ctx context.Context) (string, error) {
	q, cancel := r.write(ctx)
	defer cancel()
	id, _, err := r.client.Session().Create(&api.SessionEntry{
		Name:          r.serviceID(),
		LockDelay:     lockDelay,
		Behavior:      api.SessionBehaviorRelease,
		ServiceChecks: []api.ServiceCheck{{ID: r.checkID()}},
	}, q)
	if err != nil {
		return "", fmt.Errorf("open session: %w", err)
	}
	return id, nil
}

func (r *registry) closeSession(ctx context.Context, session string) error {
	q, cancel := r.write(ctx)
	defer cancel()
	if _, err := r.client.Session().Destroy(session, q); err != nil {
		return fmt.Errorf("destroy session %s: %w", session, err)
	}
	return nil
}

func (r *registry) sessionLives(ctx context.Context, session string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, _, err := r.client.Session().Info(session, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("read session %s: %w", session, err)
	}
	return s != nil, nil
}

// acquire tries to take the lock key for session, and writes there who has it.
func (r *registry) acquire(ctx context.Context, key, session string) (bool, error) {
	value, err := json.Marshal(holder{ID: r.id, Address: r.address.String()})
	if err != nil {
		return false, fmt.Errorf("encode holder of %s: %w", key, err)
	}
	q, cancel := r.write(ctx)
	defer cancel()
	ok, _, err := r.client.KV().Acquire(&api.KVPair{Key: key, Value: value, Session: session}, q)
	if err != nil {
		return false, fmt.Errorf("acquire %s: %w", key, err)
	}
	return ok, nil
}

// release gives the lock back; Consul knows no lock-delay after that.
func (r *registry) release(ctx context.Context, key, session string) error {
	q, cancel := r.write(ctx)
	defer cancel()
	if _, _, err := r.client.KV().Release(&api.KVPair{Key: key, Session: session}, q); err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	return nil
}

// changed is a long poll: it returns when a key of the label may have changed
// since index, with the index to ask from next; 0: from the beginning.
func (r *registry) changed(ctx context.Context, index uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, watchWait*17/16+callTimeout)
	defer cancel()
	_, meta, err := r.client.KV().List(r.prefix(), (&api.QueryOptions{WaitIndex: index, WaitTime: watchWait}).WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w", r.prefix(), err)
	}
	if meta.LastIndex < index {
		return 0, nil // Consul was restored or wiped: start again
	}
	return meta.LastIndex, nil
}

// read reads the keys of the label.
func (r *registry) read(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pairs, _, err := r.client.KV().List(r.prefix(), (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return view{}, fmt.Errorf("read %s: %w", r.prefix(), err)
	}
	var v view
	for _, p := range pairs {
		switch p.Key {
		case r.masterKey():
			err = v.master.decode(p)
		case r.slaveKey():
			err = v.slave.decode(p)
		case r.inSyncKey():
			v.index = p.ModifyIndex
			err = json.Unmarshal(p.Value, &v.inSync)
		}
		if err != nil {
			return view{}, fmt.Errorf("decode %s: %w", p.Key, err)
		}
	}
	return v, nil
}

// swap replaces the in-sync key if it is still the one of index, and answers
// what the key holds then: that, not the answer to the write, which may get
// lost, reports whether it worked.
func (r *registry) swap(ctx context.Context, next inSync, index uint64) (now inSync, nowIndex uint64, err error) {
	value, err := json.Marshal(next)
	if err != nil {
		return inSync{}, 0, fmt.Errorf("encode %s: %w", r.inSyncKey(), err)
	}
	q, cancel := r.write(ctx)
	defer cancel()
	_, _, casErr := r.client.KV().CAS(&api.KVPair{Key: r.inSyncKey(), Value: value, ModifyIndex: index}, q)
	v, err := r.read(ctx)
	if err != nil {
		return inSync{}, 0, fmt.Errorf("swap %s: %w", r.inSyncKey(), errors.Join(casErr, err))
	}
	return v.inSync, v.index, nil
}
