package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
)

// consuls are the Consul agents of a run, each started when first needed.
type consuls struct {
	root, dir string
	running   map[string]*consul.Agent
	started   int
}

// agent returns what gives the agent called name, by start if need be. The
// agent lives longer than the round that asked for it first.
func (c *consuls) agent(name string, start func(ctx context.Context, binary, dir string) (*consul.Agent, error)) func(context.Context) (*consul.Agent, error) {
	return func(ctx context.Context) (*consul.Agent, error) {
		if a := c.running[name]; a != nil {
			return a, nil
		}
		c.started++
		dir := filepath.Join(c.dir, fmt.Sprintf("consul-%s-%d", name, c.started))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make a directory for consul: %w", err)
		}
		a, err := start(ctx, consulBinary(c.root), dir)
		if err != nil {
			return nil, err
		}
		if c.running == nil {
			c.running = map[string]*consul.Agent{}
		}
		c.running[name] = a
		return a, nil
	}
}

func (c *consuls) stop() {
	for _, a := range c.running {
		a.Stop()
	}
	c.running = nil
}

func consulBinary(root string) string { return filepath.Join(root, "bin", "consul") }
