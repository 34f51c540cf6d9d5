package patroni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// controlTimeout is how long one question may take.
const controlTimeout = 5 * time.Second

// transport keeps no connections, so that none need be closed.
func transport() *http.Transport { return &http.Transport{DisableKeepAlives: true} }

// call makes a request of the node's REST API, with JSON if body is not nil,
// and returns what it answers to a status of 200.
func (n *Node) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+n.API+path, in)
	if err != nil {
		return nil, err
	}
	web := http.Client{Transport: transport()}
	a, err := web.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s%s: %s", method, n.API, path, a.Status)
	}
	return text, err
}

// answers asks the node for a role; nil: it has it.
func (n *Node) answers(ctx context.Context, path string) error {
	_, err := n.call(ctx, http.MethodGet, path, nil)
	return err
}

// member is what a node says of itself.
type member struct {
	Replication []struct {
		Name  string `json:"application_name"`
		State string `json:"state"`
		Sync  string `json:"sync_state"`
	} `json:"replication"`
}

func (n *Node) describe(ctx context.Context) (m member, err error) {
	text, err := n.call(ctx, http.MethodGet, "/patroni", nil)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// feeds asks the leader about a standby; nil: it streams.
func (n *Node) feeds(ctx context.Context, standby *Node) error {
	m, err := n.describe(ctx)
	if err != nil {
		return err
	}
	for _, r := range m.Replication {
		if r.Name == standby.Name && r.State == "streaming" {
			return nil
		}
	}
	return fmt.Errorf("%s streams to %v", n.Name, m.Replication)
}

// SetSynchronous turns synchronous_mode on or off, and returns when the cluster
// has done so: see AwaitSynchronous.
func (c *Cluster) SetSynchronous(ctx context.Context, on bool) error {
	leader, err := c.AwaitLeader(ctx, c.Nodes...)
	if err != nil {
		return err
	}
	if _, err := leader.call(ctx, http.MethodPatch, "/config", settings{"synchronous_mode": on}); err != nil {
		return err
	}
	return c.AwaitSynchronous(ctx, on)
}

// AwaitSynchronous waits until the leader waits for a standby, which may be
// promoted in its place, or for none. PostgreSQL begins to wait before Patroni
// writes the name of the standby down, and until then nobody may be promoted.
func (c *Cluster) AwaitSynchronous(ctx context.Context, on bool) error {
	return await(ctx, fmt.Sprintf("synchronous replication: %v", on), func() error {
		leader, err := c.Leader(ctx)
		if err != nil || leader == nil {
			return fmt.Errorf("leader is %v, %w", leader, err)
		}
		m, err := leader.describe(ctx)
		if err != nil {
			return err
		}
		named, err := c.standbyOf(ctx, leader)
		if err != nil {
			return err
		}
		waits := false
		for _, r := range m.Replication {
			waits = waits || r.Sync == "sync" && r.Name == named
		}
		if waits != on || !on && named != "" {
			return fmt.Errorf("%s streams to %+v, and may be replaced by %q", leader, m.Replication, named)
		}
		return nil
	})
}

// standbyOf is the standby that may be promoted in the place of a leader, with
// synchronous_mode; empty: none.
func (c *Cluster) standbyOf(ctx context.Context, leader *Node) (name string, err error) {
	pair, _, err := c.client.KV().Get("service/"+Scope+"/sync", (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil || pair == nil {
		return "", err
	}
	var state struct {
		Leader  string `json:"leader"`
		Standby string `json:"sync_standby"`
	}
	if err := json.Unmarshal(pair.Value, &state); err != nil || state.Leader != leader.Name {
		return "", err
	}
	return state.Standby, nil
}

// Switchover makes another node the leader, as an operator does.
func (c *Cluster) Switchover(ctx context.Context, from, to *Node) error {
	return c.patronictl(ctx, switchover(from, to)...)
}

// SwitchoverCommand is the command that does so, for whoever is to run it.
func (c *Cluster) SwitchoverCommand(from, to *Node) []string {
	return append([]string{patronictlProgram, "-c", c.Nodes[0].config()}, switchover(from, to)...)
}

func switchover(from, to *Node) []string {
	return []string{"switchover", "--force", "--leader", from.Name, "--candidate", to.Name, Scope}
}

// Pause has Patroni leave the cluster as it is; it returns when all nodes know.
func (c *Cluster) Pause(ctx context.Context) error {
	return c.patronictl(ctx, "pause", "--wait", Scope)
}

// Resume ends a pause; it returns when all nodes know.
func (c *Cluster) Resume(ctx context.Context) error {
	return c.patronictl(ctx, "resume", "--wait", Scope)
}

func (c *Cluster) patronictl(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, patronictlProgram, append([]string{"-c", c.Nodes[0].config()}, args...)...)
	command.Env, command.Dir = c.environment(), c.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	command.WaitDelay = controlTimeout
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("patronictl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
