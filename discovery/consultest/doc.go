// Package consultest provides an in-memory double of Consul for tests and
// demonstrations, in the spirit of net/http/httptest.
//
//	s := consultest.NewServer()
//	defer s.Close()
//	s.Register(consultest.Service{ID: "sync-1", Name: "sync", Port: 7800, Tags: []string{"role=master"}})
//	c, _ := api.NewClient(&api.Config{Address: s.Addr})
//
// It listens on a loopback address and speaks enough of Consul's HTTP API for
// github.com/hashicorp/consul/api: registration with TTL and TCP checks and
// maintenance, the catalog with several nodes, health queries, sessions, keys
// and locks, all with blocking queries over one raft index. How it behaves is
// read from Consul 1.15 and compared with a real one, case by case, in this
// package's own tests; package realconsul has that real one. What leads its
// clusters through Consul has doubles in packages patronitest and orchestratortest.
//
// What a real Consul will not do on demand, the double does: see [Fault] for
// answers that are wrong, slow or missing, [Server.Stop] and [Server.Restart]
// for an agent that dies, [Server.Restore] and [Server.RestoreSnapshot] for
// indexes that go backwards, [Server.Lag] for an agent left behind,
// [Server.AddAgent] for several agents of one cluster, [Server.SetToken] and
// [Server.DenyKeys] for access control, [Server.Lock], [Server.Unlock] and
// [Server.ExpireSession] for a leader's key. What clients asked is on record:
// [Server.Requests], [Server.LongPolls].
//
// It is no Consul: there is one data centre; filter expressions, namespaces,
// prepared queries, Connect, HTTP, gRPC and script checks are refused or
// unknown; an agent does not compare itself with the catalog, so that what
// /v1/catalog writes on the agent's own node stays; critical services are never reaped.
package consultest
