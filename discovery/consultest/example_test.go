package consultest_test

import (
	"fmt"
	"log"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func Example() {
	s := consultest.NewServer()
	defer s.Close()
	s.Register(
		consultest.Service{ID: "sync-1", Name: "sync", Address: "127.0.0.1", Port: 7801, Tags: []string{"role=master"}},
		consultest.Service{ID: "sync-2", Name: "sync", Address: "127.0.0.1", Port: 7802, Tags: []string{"role=slave"}},
	)

	c := s.Client()
	show := func(q *api.QueryOptions) {
		masters, _, err := c.Health().Service("sync", "role=master", true, q)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, m := range masters {
			fmt.Println(m.Service.ID)
		}
	}
	show(nil)

	was := s.Index()
	s.Txn(func(tx *consultest.Tx) { // an election, seen as one step
		tx.SetTags("sync-1", "role=slave")
		tx.SetTags("sync-2", "role=master")
	})
	show(&api.QueryOptions{WaitIndex: was, WaitTime: time.Minute})

	undo := s.Inject(consultest.Status(500, "No cluster leader").On("/v1/health/"))
	show(nil)
	undo()
	show(nil)
	// Output:
	// sync-1
	// sync-2
	// Unexpected response code: 500 (No cluster leader)
	// sync-2
}

func ExampleServer_AddAgent() {
	first := consultest.NewServer()
	defer first.Close()
	second, err := first.AddAgent("second")
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()
	undo := second.Lag() // serves what it knows by now, under its old index
	defer undo()
	first.Register(consultest.Service{ID: "sync-1", Name: "sync", Port: 7800})
	for _, agent := range []*consultest.Server{first, second} {
		instances, _, err := agent.Client().Health().Service("sync", "", false, nil)
		fmt.Println(len(instances), err)
	}
	// Output:
	// 1 <nil>
	// 0 <nil>
}

// A leader's key is held by a session, lost with it, and taken by another.
func ExampleServer_Lock() {
	s := consultest.NewServer()
	defer s.Close()
	leader := s.NewSession(consultest.DeleteKeys)
	s.Lock("service/batman/leader", "pg1", leader)

	show := func() {
		k, _, err := s.Client().KV().Get("service/batman/leader", nil)
		switch {
		case err != nil:
			fmt.Println(err)
		case k == nil:
			fmt.Println("nobody")
		default:
			fmt.Println(string(k.Value), "holds it:", k.Session != "")
		}
	}
	show()
	s.ExpireSession(leader)
	show()
	s.Lock("service/batman/leader", "pg2", s.NewSession(consultest.DeleteKeys))
	show()
	s.Unlock("service/batman/leader")
	show()
	// Output:
	// pg1 holds it: true
	// nobody
	// pg2 holds it: true
	// pg2 holds it: false
}
