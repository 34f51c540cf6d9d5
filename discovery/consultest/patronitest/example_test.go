package patronitest_test

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/patronitest"
)

// A failover, step by step.
func Example() {
	consul := consultest.NewServer()
	defer consul.Close()
	c := patronitest.New(consul.Client(), "batman")
	defer c.Close()
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
		}
	}
	_, err := c.Add("pg1", "postgres://127.0.0.1:5432/postgres")
	check(err)
	pg2, err := c.Add("pg2", "postgres://127.0.0.1:5433/postgres")
	check(err)

	show := func(what string) {
		k, _, err := consul.Client().KV().Get(c.LeaderKey(), nil)
		check(err)
		holder := "nobody"
		if k != nil {
			holder = string(k.Value)
		}
		r, err := http.Get("http://" + pg2.Addr + "/primary")
		if err != nil {
			fmt.Println(err)
			return
		}
		defer r.Body.Close()
		var body struct{ Role string }
		check(json.NewDecoder(r.Body).Decode(&body))
		fmt.Println(what, "leader:", holder, "pg2:", r.StatusCode, body.Role)
	}
	check(c.Elect("pg1"))
	check(c.Promote("pg1"))
	show("before:")
	check(c.LoseLock())
	show("lock lost:")
	check(c.Elect("pg2"))
	show("elected:")
	check(c.Promote("pg2"))
	show("promoted:")
	// Output:
	// before: leader: pg1 pg2: 503 replica
	// lock lost: leader: nobody pg2: 503 replica
	// elected: leader: pg2 pg2: 200 replica
	// promoted: leader: pg2 pg2: 200 master
}
