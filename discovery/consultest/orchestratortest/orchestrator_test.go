package orchestratortest_test

import (
	"fmt"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/orchestratortest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

func Example() {
	consul := consultest.NewServer()
	defer consul.Close()
	kv := consul.Client().KV()
	if err := orchestratortest.Submit(kv, "main", orchestratortest.Master{Hostname: "db1.example", Port: 3306, IPv4: "192.0.2.1"}); err != nil {
		fmt.Println(err)
	}
	pairs, _, err := kv.List("mysql/", nil)
	if err != nil {
		fmt.Println(err)
	}
	for _, p := range pairs {
		fmt.Printf("%s %q, held: %t\n", p.Key, p.Value, p.Session != "")
	}
	// Output:
	// mysql/master/main "db1.example:3306", held: false
	// mysql/master/main/hostname "db1.example", held: false
	// mysql/master/main/ipv4 "192.0.2.1", held: false
	// mysql/master/main/ipv6 "", held: false
	// mysql/master/main/port "3306", held: false
}

func TestSubmittedAgainNothingChanges(t *testing.T) {
	run := func(t *testing.T, kv *api.KV) {
		index := func(address string) uint64 {
			t.Helper()
			if err := orchestratortest.Submit(kv, "main", orchestratortest.At(address)); err != nil {
				t.Fatal(err)
			}
			k, _, err := kv.Get(orchestratortest.Key("main"), nil)
			if err != nil || k == nil || string(k.Value) != address || k.Session != "" || k.LockIndex != 0 {
				t.Fatalf("key: got %+v, %v; want %s, held by nobody", k, err, address)
			}
			return k.ModifyIndex
		}
		first := index("127.0.0.1:3306")
		if again := index("127.0.0.1:3306"); again != first {
			t.Errorf("ModifyIndex after the same again: got %d; want %d", again, first)
		}
		if next := index("127.0.0.2:3306"); next <= first {
			t.Errorf("ModifyIndex after a failover: got %d; want above %d", next, first)
		}
	}
	t.Run("double", func(t *testing.T) {
		s := consultest.NewServer()
		defer s.Close()
		run(t, s.Client().KV())
	})
	t.Run("consul", func(t *testing.T) { run(t, realconsul.StartDev(t).Client().KV()) })
}

func TestAtRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "db1:3306", "[::1]:3306", "127.0.0.1", "127.0.0.1:x"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("At(%q): got no panic; want one", address)
				}
			}()
			orchestratortest.At(address)
		}()
	}
}
