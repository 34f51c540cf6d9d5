package realconsul

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestDevAgentComesBackEmptyAtTheSameAddress(t *testing.T) {
	a := StartDev(t)
	addr := a.Addr
	if err := a.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "sync", Port: 1}); err != nil {
		t.Fatal(err)
	}
	await(t, "the service is in the catalog", func() bool { return instances(t, a) == 1 })
	a.Stop()
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a stopped agent: got %v; want %v", err, syscall.ECONNREFUSED)
	}
	a.Start()
	a.Restart()
	if n := instances(t, a); n != 0 || a.Addr != addr {
		t.Errorf("after a restart: got %d instances at %s; want 0 at %s", n, a.Addr, addr)
	}
}

func TestFrozenAgentAnswersWhenThawed(t *testing.T) {
	a := StartDev(t)
	a.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Client().Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
		if !os.IsTimeout(err) {
			t.Errorf("ask a frozen agent: got %v; want a timeout", err)
		}
	}
	a.Thaw()
	if leader, err := a.Client().Status().Leader(); err != nil || leader == "" {
		t.Errorf("ask a thawed agent: got %q, %v; want a leader", leader, err)
	}
	a.Freeze() // and the end of the test must get rid of it all the same
}

func TestClusterElectsAnotherLeader(t *testing.T) {
	cl := StartCluster(t, 3)
	if err := cl.Client.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "sync", Port: 1}); err != nil {
		t.Fatal(err)
	}
	was := cl.KillLeader()
	if now := cl.Leader(); now == was {
		t.Errorf("leader after its death: got server %d; want another", now)
	}
	await(t, "the client agent sees the service again", func() bool {
		entries, _, err := cl.Client.Client().Health().Service("sync", "", false, &api.QueryOptions{RequireConsistent: true})
		return err == nil && len(entries) == 1
	})
	cl.Servers[was].Start()
}

func TestTokensAreMadeAndRevoked(t *testing.T) {
	a := StartDev(t, ACL(), NoStreaming())
	reader, other := a.CreateToken(ReadRules), a.CreateToken(ReadRules)
	nodes := func(token string) (int, error) {
		n, _, err := a.ClientWithToken(token).Catalog().Nodes(nil)
		return len(n), err
	}
	if n, err := nodes(reader.SecretID); n != 1 || err != nil {
		t.Errorf("nodes that a reader sees: got %d, %v; want 1", n, err)
	}
	if n, err := nodes(""); n != 0 || err != nil {
		t.Errorf("nodes that nobody sees: got %d, %v; want 0 and no error", n, err)
	}
	a.RevokeToken(reader)
	var status api.StatusError
	if _, err := nodes(reader.SecretID); !errors.As(err, &status) || status.Code != 403 {
		t.Errorf("nodes with a revoked token: got %v; want 403", err)
	}
	if n, err := nodes(other.SecretID); n != 1 || err != nil {
		t.Errorf("nodes with the other token: got %d, %v; want 1", n, err)
	}
}

func instances(t *testing.T, a *Agent) int {
	t.Helper()
	entries, _, err := a.Client().Health().Service("sync", "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
