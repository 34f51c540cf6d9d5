package discovery

import (
	"fmt"
	"strings"
	"testing"
)

func TestMembersAreUnderstood(t *testing.T) {
	for _, tc := range []struct{ conn, want, err string }{
		{"postgres://10.0.0.1:5433/postgres", "10.0.0.1:5433", ""},
		{"postgresql://10.0.0.1", "10.0.0.1:5432", ""},
		{"postgres://user:p@ss:w0rd@10.0.0.1:5432/postgres", "10.0.0.1:5432", ""},
		{"postgres://10.0.0.1:5432,10.0.0.2:5433/postgres", "10.0.0.1:5432", ""},
		{"postgres://[fd00::1]:5432/postgres", "[fd00::1]:5432", ""},
		{"postgres://[fd00::1]/postgres", "[fd00::1]:5432", ""},
		{"postgres://[fd00::1]:5432,[fd00::2]:5432/x", "[fd00::1]:5432", ""},
		{"postgres://pg1.example:5432/postgres?target_session_attrs=any", "pg1.example:5432", ""},
		{"postgres:///postgres?host=10.0.0.1&port=5434", "10.0.0.1:5434", ""},
		{"postgres:///postgres?host=10.0.0.1,10.0.0.2&port=5434,5435", "10.0.0.1:5434", ""},
		{"postgres:///postgres?host=@postgresql", "", "Unix socket"},
		{"postgres://pg1.example/postgres?hostaddr=10.0.0.1", "10.0.0.1:5432", ""},
		{"postgres:///postgres", "", "Unix socket"},
		{"postgres:///postgres?host=/var/run/postgresql", "", "Unix socket"},
		{"postgres://%2Fvar%2Frun%2Fpostgresql/postgres", "", "Unix socket"},
		{"postgres://user:s3cret@:5432/x", "", "Unix socket"},
		{"postgres://user:s3cret@10.0.0.1:0/x", "", "port"},
		{"postgres://user:s3cret@10.0.0.256:5432/x", "", "neither"},
		{"mysql://user:s3cret@10.0.0.1:3306/x", "", "postgres://"},
		{"postgres://user:s3cret@h%zz/x", "", "host"},
		{"postgres://h/x?a=%zz", "", "parameters"},
		{"", "", "postgres://"},
	} {
		m, err := parseMember(holding(fmt.Sprintf(`{"conn_url":%q}`, tc.conn), "").entry)
		got := ""
		if m.candidate.host != "" {
			got = fmt.Sprintf("%s:%d", m.candidate.host, m.candidate.port)
		} else if m.candidate.addr.IsValid() {
			got = m.candidate.addr.String()
		}
		if got != tc.want || tc.err != "" && !strings.Contains(fmt.Sprint(err), tc.err) || (err != nil) != (tc.err != "") {
			t.Errorf("%s: got %q, %v; want %q, an error with %q", tc.conn, got, err, tc.want, tc.err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error holds the password: %v", tc.conn, err)
		}
	}
	for api, want := range map[string]string{
		"http://10.0.0.1:8008/patroni": "http://10.0.0.1:8008", "https://[fd00::1]:8008/patroni": "https://[fd00::1]:8008",
		"ftp://10.0.0.1/": "", "10.0.0.1:8008": "", "http:///x": "", "": "", "http://\x00": "",
	} {
		if got := parseAPIURL(api); got != want {
			t.Errorf("%q: got %q; want %q", api, got, want)
		}
	}
	for _, value := range []string{"", "null", "[]", `"x"`, "{", `{"conn_url":1}`, strings.Repeat("[", 60000)} {
		if m, err := parseMember(holding(value, "").entry); err == nil {
			t.Errorf("%.20q: got %+v; want an error", value, m)
		}
	}
	if _, err := parseMember(&entry{length: maxValue + 1}); err == nil || !strings.Contains(err.Error(), "64 KiB") {
		t.Errorf("too long: got %v; want an error that says so", err)
	}
}

func FuzzMember(f *testing.F) {
	f.Add(`{"conn_url":"postgres://u:p@[::1]:5432,h/x?host=/a","api_url":"https://h:8008/patroni"}`)
	f.Add(`{"conn_url":"postgres://%2Fx/","api_url":"http://u:p@h/"}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, value string) {
		m, err := parseMember(&entry{value: value, length: len(value)})
		if err != nil {
			if m != (memberInfo{}) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("got %+v with %q", m, err)
			}
			return
		}
		if p := m.candidate; p.port == 0 || (p.host == "") != p.addr.IsValid() || p.host != "" && !IsHostName(p.host) {
			t.Fatalf("place %+v cannot be connected to", p)
		}
		if strings.Contains(m.api, "@") {
			t.Fatalf("API %q with credentials", m.api)
		}
	})
}
