package discovery

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/consul"
)

func TestInstanceClaimsALabelOnce(t *testing.T) {
	in, err := parseInstances([]byte(`[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"a","Port":1,"Tags":["label=a","LABEL=A","label=b","label="]}}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := in.of("a").candidates, in.of("b").candidates; len(a) != 1 || len(b) != 1 || len(in.byLabel) != 2 {
		t.Errorf("got %v for a, %v for b, of %d labels; want one claim for each of two", a, b, len(in.byLabel))
	}
}

func TestEntryIsAboutTheKeyThatWasAskedFor(t *testing.T) {
	if _, err := newEntry("a/b", &api.KVPair{Key: "a/c"}); err == nil || !strings.Contains(err.Error(), `"a/c"`) {
		t.Errorf("got %v; want an error that names the other key", err)
	}
	if _, err := newEntry("a/b", nil); err == nil {
		t.Error("an empty list: got no error")
	}
	e, err := newEntry("a/b", &api.KVPair{Key: "a/b", Value: make([]byte, maxValue+1), Session: "s", ModifyIndex: 7})
	if err != nil || *e != (entry{length: maxValue + 1, session: "s", modify: 7}) {
		t.Errorf("got %+v, %v; want a value that is too long left out", e, err)
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// registered is one entry of /v1/health/service as a test writes it down.
func registered(node, nodeAddr, id, serviceAddr string, port any, modify int, tags ...string) string {
	quotedTags := make([]string, len(tags))
	for i, t := range tags {
		quotedTags[i] = fmt.Sprintf("%q", t)
	}
	return fmt.Sprintf(`{"Node":{"Node":%q,"Address":%q},"Service":{"ID":%q,"Address":%q,"Port":%v,"Tags":[%s],"ModifyIndex":%d},"Checks":[{"Status":"passing"}]}`,
		node, nodeAddr, id, serviceAddr, port, strings.Join(quotedTags, ","), modify)
}

func headers(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

var masterTags = []string{"role=master"}

// decode is what an agent makes of an answer of /v1/health/service.
func decode(status int, header http.Header, body []byte, tags []string, hasToken bool) answer {
	if status != http.StatusOK {
		return refused(consul.Refusal(status, string(body), "rights"))
	}
	in, err := parseInstances(body, tags)
	if err != nil {
		return failed(err)
	}
	return understood(metaOf(header), in, hasToken)
}

// metaOf is what Consul's client makes of headers that are all there.
func metaOf(h http.Header) *api.QueryMeta {
	index, _ := strconv.ParseUint(h.Get("X-Consul-Index"), 10, 64)
	return &api.QueryMeta{
		LastIndex:             index,
		KnownLeader:           h.Get("X-Consul-KnownLeader") == "true",
		DefaultACLPolicy:      h.Get("X-Consul-Default-ACL-Policy"),
		ResultsFilteredByACLs: h.Get("X-Consul-Results-Filtered-By-ACLs") == "true",
		QueryBackend:          h.Get("X-Consul-Query-Backend"),
	}
}

// allOf are the claims of an answer to be master of any label.
func allOf(a answer) *claims {
	if a.instances == nil {
		return nobody
	}
	return a.instances.all
}

func TestAnswerIsUnderstood(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int // 0: 200
		header http.Header
		token  bool
		body   string
		want   kind
		addrs  []string // of the candidates; a name that is to be resolved as NAME:PORT
		reject []string // a word of each
		err    string
	}{
		{name: "one master", body: "[" + registered("n", "10.0.0.9", "s", "10.0.0.1", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"10.0.0.1:7800"}},
		{name: "tags in another case", body: "[" + registered("n", "10.0.0.9", "s", "10.0.0.1", 7800, 5, "x", "ROLE=Master") + "]",
			want: found, addrs: []string{"10.0.0.1:7800"}},
		{name: "empty service address means the node's", body: "[" + registered("n", "10.0.0.9", "s", "", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"10.0.0.9:7800"}},
		{name: "IPv6", body: "[" + registered("n", "10.0.0.9", "s", "fd00::1", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"[fd00::1]:7800"}},
		{name: "IPv6 in brackets", body: "[" + registered("n", "10.0.0.9", "s", "[fd00::1]", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"[fd00::1]:7800"}},
		{name: "IPv4 written as IPv6", body: "[" + registered("n", "10.0.0.9", "s", "::ffff:10.0.0.1", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"10.0.0.1:7800"}},
		{name: "host name", body: "[" + registered("n", "10.0.0.9", "s", "sync-1.node.consul", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"sync-1.node.consul:7800"}},
		{name: "a tag of the master is missing", body: "[" + registered("n", "10.0.0.9", "s", "10.0.0.1", 7800, 5, "role=slave") + "]", want: none},
		{name: "no tags at all", body: `[{"Node":{"Node":"n"},"Service":{"ID":"s","Address":"10.0.0.1","Port":1,"Tags":null}}]`, want: none},
		{name: "a check is critical", body: strings.Replace("["+registered("n", "", "s", "10.0.0.1", 7800, 5, "role=master")+"]", "passing", "critical", 1), want: none},
		{name: "a check warns", body: strings.Replace("["+registered("n", "", "s", "10.0.0.1", 7800, 5, "role=master")+"]", "passing", "warning", 1), want: none},
		{name: "empty", body: "[]", want: none},
		{name: "empty, default deny, with a token", body: "[]", token: true, header: headers("X-Consul-Default-ACL-Policy", "deny"), want: none},
		{name: "empty, default deny, no token", body: "[]", header: headers("X-Consul-Default-ACL-Policy", "deny"), want: denied, err: "denied"},
		{name: "empty, default allow, no token", body: "[]", header: headers("X-Consul-Default-ACL-Policy", "allow"), want: none},
		{name: "empty, filtered", body: "[]", token: true, header: headers("X-Consul-Results-Filtered-By-ACLs", "true"), want: denied, err: "service:read and node:read"},
		{name: "filtered but not empty", header: headers("X-Consul-Results-Filtered-By-ACLs", "true"),
			body: "[" + registered("n", "", "s", "10.0.0.1", 7800, 5, "role=master") + "]", want: found, addrs: []string{"10.0.0.1:7800"}},
		{name: "403", status: 403, body: "ACL not found", want: denied, err: "ACL not found"},
		{name: "500", status: 500, body: "No cluster leader", want: unknown, err: "500"},
		{name: "429", status: 429, body: "Your IP is issuing too many concurrent connections", want: unknown, err: "429"},
		{name: "503", status: 503, want: unknown, err: "503"},
		{name: "a redirect", status: 301, want: unknown, err: "301"},
		{name: "no content", status: 204, want: unknown, err: "204"},
		{name: "null", body: "null", want: unknown, err: "null"},
		{name: "an empty object in the list", body: "[{}]", want: unknown, err: "1 of 1"},
		{name: "null in the list", body: "[null]", want: unknown, err: "1 of 1"},
		{name: "null node and service", body: `[{"Node":null,"Service":null,"Checks":null}]`, want: unknown, err: "1 of 1"},
		{name: "an empty object and a slave", body: "[{}," + registered("n", "", "s", "10.0.0.1", 7800, 5, "role=slave") + "]", want: unknown, err: "1 of 2"},
		{name: "an empty object and a master", body: "[{}," + registered("n", "", "s", "10.0.0.1", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"10.0.0.1:7800"}, reject: []string{"no Node"}},
		{name: "an object", body: "{}", want: unknown, err: "understand"},
		{name: "HTML", body: "<html>log in</html>", want: unknown, err: "understand"},
		{name: "nothing", body: "", want: unknown, err: "understand"},
		{name: "cut short", body: "[" + registered("n", "", "s", "10.0.0.1", 7800, 5, "role=master"), want: unknown, err: "understand"},
		{name: "more after the end", body: "[] []", want: unknown, err: "understand"},
		{name: "port as a word", body: "[" + registered("n", "", "s", "10.0.0.1", `"7800"`, 5, "role=master") + "]", want: unknown, err: "understand"},
		{name: "port 0", body: "[" + registered("n", "", "s", "10.0.0.1", 0, 5, "role=master") + "]", want: found, reject: []string{"port 0"}},
		{name: "port below 0", body: "[" + registered("n", "", "s", "10.0.0.1", -1, 5, "role=master") + "]", want: found, reject: []string{"port -1"}},
		{name: "port above 65535", body: "[" + registered("n", "", "s", "10.0.0.1", 65536, 5, "role=master") + "]", want: found, reject: []string{"port 65536"}},
		{name: "no address anywhere", body: "[" + registered("n", "", "s", "", 7800, 5, "role=master") + "]", want: found, reject: []string{"neither"}},
		{name: "0.0.0.0", body: "[" + registered("n", "", "s", "0.0.0.0", 7800, 5, "role=master") + "]", want: found, reject: []string{"unusable"}},
		{name: "multicast", body: "[" + registered("n", "", "s", "ff02::1", 7800, 5, "role=master") + "]", want: found, reject: []string{"unusable"}},
		{name: "broadcast", body: "[" + registered("n", "", "s", "255.255.255.255", 7800, 5, "role=master") + "]", want: found, reject: []string{"unusable"}},
		{name: "a mistyped IP address", body: "[" + registered("n", "", "s", "10.0.0.256", 7800, 5, "role=master") + "]", want: found, reject: []string{"neither"}},
		{name: "a URL", body: "[" + registered("n", "", "s", "tcp://10.0.0.1", 7800, 5, "role=master") + "]", want: found, reject: []string{"neither"}},
		{name: "port 0 and a good one", body: "[" + registered("n", "", "a", "10.0.0.1", 0, 9, "role=master") + "," + registered("n", "", "b", "10.0.0.2", 7800, 5, "role=master") + "]",
			want: found, addrs: []string{"10.0.0.2:7800"}, reject: []string{"port 0"}},
		{name: "no leader", body: "[]", header: headers("X-Consul-Query-Backend", "blocking-query", "X-Consul-KnownLeader", "false"), want: unknown, err: "no leader"},
		{name: "streaming never knows a leader", body: "[]", header: headers("X-Consul-Query-Backend", "streaming", "X-Consul-KnownLeader", "false"), want: none},
		{name: "an old server names no backend", body: "[]", header: headers("X-Consul-KnownLeader", "false"), want: none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.status == 0 {
				tc.status = 200
			}
			a := answerOver(t, tc.status, tc.header, tc.body, tc.token)
			if a.kind != tc.want {
				t.Fatalf("got kind %v (%v); want %v", a.kind, a.err, tc.want)
			}
			var addrs []string
			for _, c := range allOf(a).candidates {
				if c.host != "" {
					addrs = append(addrs, fmt.Sprintf("%s:%d", c.host, c.port))
				} else {
					addrs = append(addrs, c.addr.String())
				}
			}
			if !slices.Equal(addrs, tc.addrs) {
				t.Errorf("got candidates %v; want %v", addrs, tc.addrs)
			}
			if len(allOf(a).rejects) != len(tc.reject) {
				t.Fatalf("got rejects %v; want %v", allOf(a).rejects, tc.reject)
			}
			for i, r := range allOf(a).rejects {
				if !strings.Contains(r.String(), tc.reject[i]) {
					t.Errorf("got reject %q; want one with %q", r, tc.reject[i])
				}
			}
			if (a.err != nil) != (tc.want == unknown || tc.want == denied) {
				t.Errorf("got error %v with kind %v; want one exactly where the kind is unknown or denied", a.err, a.kind)
			}
			if tc.err != "" && !strings.Contains(fmt.Sprint(a.err), tc.err) {
				t.Errorf("got error %v; want one with %q", a.err, tc.err)
			}
		})
	}
}

// answerOver is what an agent makes of an answer that comes over HTTP.
func answerOver(t *testing.T, status int, header http.Header, body string, token bool) answer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Consul-LastContact", "0")
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			io.WriteString(w, body)
		}
	}))
	defer s.Close()
	if token {
		t.Setenv("CONSUL_HTTP_TOKEN", "t0ken")
	}
	return askOnce(t, quick(s.URL))
}

func TestIndexIsReadOrZero(t *testing.T) {
	for header, want := range map[string]uint64{
		"": 0, "0": 0, "1": 1, "18446744073709551615": 1<<64 - 1, "18446744073709551616": 0, "-1": 0, "12x": 0, "1e3": 0,
	} {
		if got := answerOver(t, http.StatusOK, headers("X-Consul-Index", header), "[]", false).index; got != want {
			t.Errorf("index of %q: got %d; want %d", header, got, want)
		}
	}
}

func TestErrorTextIsBoundedAndEscaped(t *testing.T) {
	a := decode(500, nil, bytes.Repeat([]byte("\x1b[31mred\n"), 1<<16), nil, false)
	if got := a.err.Error(); len(got) > 1000 || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("got an error of %d bytes, %.100q; want a short one without control characters", len(got), got)
	}
}

// FuzzAnswer feeds decode whatever a network can carry. What it makes of it
// must hold together, and must not depend on the order of the list.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		"[]", "null", "[{}]", "[null]", "{}", "", "[", `[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"s","Port":1,"Tags":["ROLE=master"],"ModifyIndex":18446744073709551615}}]`,
		"[" + registered("n", "10.0.0.9", "a", "", 7800, 5, "role=master") + "," + registered("n", "", "b", "host.example", 7800, 5, "role=master") + "]",
		"[" + registered("n", "", "a", "0.0.0.0", 70000, 5, "role=master") + "]",
	} {
		f.Add(200, "7", "deny", "true", "blocking-query", "false", []byte(body))
		f.Add(200, "garbage", "", "", "", "", []byte(body))
		f.Add(403, "", "", "", "", "", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, index, policy, filtered, backend, leader string, body []byte) {
		h := headers("X-Consul-Index", index, "X-Consul-Default-ACL-Policy", policy,
			"X-Consul-Results-Filtered-By-ACLs", filtered, "X-Consul-Query-Backend", backend, "X-Consul-KnownLeader", leader)
		a := decode(status, h, body, masterTags, false)
		if (a.err != nil) != (a.kind == unknown || a.kind == denied) {
			t.Fatalf("kind %v with error %v", a.kind, a.err)
		}
		if status != 200 && a.kind != unknown && a.kind != denied {
			t.Fatalf("status %d understood as %v", status, a.kind)
		}
		if a.kind == none && (len(allOf(a).candidates) > 0 || len(allOf(a).rejects) > 0) || a.kind == found && len(allOf(a).candidates)+len(allOf(a).rejects) == 0 {
			t.Fatalf("kind %v with %v and %v", a.kind, allOf(a).candidates, allOf(a).rejects)
		}
		for _, c := range allOf(a).candidates {
			if c.port == 0 || (c.host == "") != c.addr.IsValid() || c.addr.IsValid() && c.addr.Port() != c.port {
				t.Fatalf("candidate %+v cannot be connected to", c)
			}
			if c.host != "" && !IsHostName(c.host) {
				t.Fatalf("candidate %+v has no proper host name", c)
			}
		}
		if len(allOf(a).candidates) > 0 {
			first := elect(allOf(a).candidates)
			slices.Reverse(allOf(a).candidates)
			if again := elect(allOf(a).candidates); again != first {
				t.Fatalf("got %v, and %v for the reversed list", first, again)
			}
		}
	})
}
