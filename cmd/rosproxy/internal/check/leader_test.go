package check

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/patronitest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// must fails the test for an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCheckSaysHowFarALeaderKeyLeads, from a key that is absent to a leader that is ready.
func TestCheckSaysHowFarALeaderKeyLeads(t *testing.T) {
	for name, start := range map[string]func() (address string, client *api.Client){
		"double": func() (string, *api.Client) { s := startConsul(t); return s.Addr, s.Client() },
		"real":   func() (string, *api.Client) { a := realconsul.StartDev(t); return a.Addr, a.Client() },
	} {
		t.Run(name, func(t *testing.T) {
			addr, client := start()
			const key, text = "service/batman/leader", "master of default at consul "
			want := func(ok bool, line string) {
				t.Helper()
				got, out := checked(t, "--consul-addr="+addr, "--leader-key="+key, "--leader-format=patroni")
				if got != ok {
					t.Errorf("got %t; want %t", got, ok)
				}
				wantLine(t, out, line)
			}
			want(false, "FAIL "+text+addr+`: none: the leader key "service/batman/leader" is absent; check --leader-key`)
			_, err := client.KV().Put(&api.KVPair{Key: key, Value: []byte("pg1")}, nil)
			must(t, err)
			want(false, "FAIL "+text+addr+`: none: no session holds the leader key "service/batman/leader"; check --leader-lock`)
			_, err = client.KV().Delete(key, nil)
			must(t, err)

			p := patronitest.New(client, "batman")
			defer p.Close()
			at, _ := startMaster(t)
			member, err := p.Add("pg1", "postgres://u:s3cret@"+at+"/postgres")
			must(t, err, p.Elect("pg1"))
			want(false, "FAIL "+text+addr+`: none: leader "pg1": its REST API says that its role is "replica"`)
			undo := member.Break(patronitest.Status(http.StatusServiceUnavailable, "{}"))
			want(false, "FAIL "+text+addr+`: none: leader "pg1": its REST API answers with status 503`)
			undo()
			member.Stop()
			want(false, "FAIL "+text+addr+`: none: leader "pg1": its REST API does not answer: dial tcp 127.0.0.1:`)
			must(t, member.Start(), p.SetConnURL("pg1", "postgres://u:s3cret@/postgres?host=/run/postgresql"))
			want(false, "FAIL "+text+addr+`: none: leader "pg1": its conn_url: it leads to a Unix socket`)
			must(t, p.SetConnURL("pg1", "postgres://u:s3cret@"+at+"/postgres"))
			must(t, p.Promote("pg1"))
			want(true, "ok   "+text+addr+": "+at+" (pg1)\n")
			want(true, "ok   master of default at "+at+": accepts connections\n")
			_, err = client.KV().Delete("service/batman/members/pg1", nil)
			must(t, err)
			want(false, "FAIL "+text+addr+`: none: leader "pg1": it is not among the members`)
		})
	}
}

func TestCheckSaysWhichRightALeaderKeyNeeds(t *testing.T) {
	consul := startConsul(t)
	p := patronitest.New(consul.Client(), "batman")
	defer p.Close()
	at, _ := startMaster(t)
	_, err := p.Add("pg1", "postgres://"+at+"/postgres")
	must(t, err, p.Elect("pg1"), p.Promote("pg1"))
	for _, key := range []string{"service/batman/leader", "service/batman/members/pg1"} {
		undo := consul.DenyKeys(key)
		ok, out := checked(t, "--consul-addr="+consul.Addr, "--leader-key=service/batman/leader", "--leader-format=patroni")
		if ok || strings.Contains(out, "none") {
			t.Errorf("%s denied: got %t\n%s\nwant a failure, and not that there is none", key, ok, out)
		}
		wantLine(t, out, "FAIL consul at "+consul.Addr+`, label "default": denied: status 403`)
		if !strings.Contains(out, `give a token with key:read for "`+key+`"`) {
			t.Errorf("got\n%s\nwant the right that is missing", out)
		}
		undo()
	}
}

func TestCheckFollowsALeaderKeyWithAnAddress(t *testing.T) {
	consul := startConsul(t)
	at, port := startMaster(t)
	args := []string{"--consul-addr=" + consul.Addr, "--leader-key=app/leader"}
	line := func(ok bool, want string, more ...string) {
		t.Helper()
		got, out := checked(t, append(args, more...)...)
		if got != ok {
			t.Errorf("got %t; want %t", got, ok)
		}
		wantLine(t, out, want)
	}
	session := consul.NewSession(consultest.DeleteKeys)
	consul.Lock("app/leader", "nonsense", session)
	line(false, "FAIL master of default at consul "+consul.Addr+`: none: leader key "app/leader": its value "nonsense" is not HOST:PORT`)
	consul.Lock("app/leader", "nowhere.invalid:1", session)
	line(false, "FAIL master of default at consul "+consul.Addr+`: none: leader "nowhere.invalid:1": resolve nowhere.invalid: `)
	consul.Lock("app/leader", at, session)
	line(true, "ok   master of default at consul "+consul.Addr+": "+at+"\n")
	catalog := []string{"--leader-ready=catalog", "--tag=primary"}
	line(false, "FAIL master of default at consul "+consul.Addr+`: none: leader "`+at+`": no instance of the service passes at its address`, catalog...)
	consul.Register(consultest.Service{ID: "a", Name: "sync", Address: "127.0.0.1", Port: port, Tags: []string{"primary"}})
	line(true, "ok   master of default at consul "+consul.Addr+": "+at+"\n", catalog...)
	consul.Unlock("app/leader")
	line(false, "FAIL master of default at consul "+consul.Addr+`: none: no session holds`)
	line(true, "ok   master of default at consul "+consul.Addr+": "+at+"\n", "--leader-lock=ignored")
}
