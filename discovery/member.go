package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// memberInfo is what Patroni's members/NAME says of a member.
type memberInfo struct {
	candidate candidate // where its PostgreSQL is; its id is the member's name
	api       string    // SCHEME://HOST:PORT of its REST API; empty: it has none that can be asked
}

func (m memberInfo) hasAddress() bool { return m.candidate.port != 0 }

// checkMemberName says what is wrong with the name of a member.
func checkMemberName(name string) error {
	if strings.Contains(name, "/") || CheckLeaderKey("members/"+name, PatroniFormat) != nil {
		return fmt.Errorf("its value %s is not the name of a member", text.Quoted(name))
	}
	return nil
}

// parseMember understands the JSON that Patroni keeps of a member
// (patroni/ha.py: touch_member). Its errors quote nothing of conn_url, which may
// hold a password.
func parseMember(e *entry) (memberInfo, error) {
	if e.length > maxValue {
		return memberInfo{}, fmt.Errorf("its member is longer than %d KiB", maxValue>>10)
	}
	var said struct {
		ConnURL string `json:"conn_url"`
		APIURL  string `json:"api_url"`
	}
	if err := json.Unmarshal([]byte(e.value), &said); err != nil {
		return memberInfo{}, errors.New("its member is not the JSON that Patroni writes")
	}
	c, err := parseConnURL(said.ConnURL)
	if err != nil {
		return memberInfo{}, fmt.Errorf("its conn_url: %w", err)
	}
	return memberInfo{candidate: c, api: parseAPIURL(said.APIURL)}, nil
}

// parseConnURL answers where a connection URL of PostgreSQL leads (libpq-connect,
// "Connection URIs"): postgres://[USER[:PASSWORD]@]HOST[:PORT][,...][/DB][?NAME=VALUE&...].
// Of several hosts the first counts: they are ways to one member.
func parseConnURL(s string) (candidate, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return candidate{}, errors.New("it does not begin as postgres://HOST:PORT does")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	first, _, _ := strings.Cut(authority, ",")
	host, port := splitHost(first)
	params, err := url.ParseQuery(query)
	if err != nil {
		return candidate{}, errors.New("its parameters are not those of a URL")
	}
	for _, p := range []struct {
		name string
		to   *string
	}{{"host", &host}, {"hostaddr", &host}, {"port", &port}} {
		if v, _, _ := strings.Cut(params.Get(p.name), ","); v != "" {
			*p.to = v
		}
	}
	if host, err = url.PathUnescape(host); err != nil {
		return candidate{}, errors.New("its host is not that of a URL")
	}
	if host == "" || host[0] == '/' || host[0] == '@' {
		return candidate{}, errors.New("it leads to a Unix socket, which nobody can be connected to from elsewhere")
	}
	if port == "" {
		port = "5432"
	}
	return candidateAt(host, port)
}

// splitHost splits HOST[:PORT], where HOST may be an IPv6 address in brackets.
func splitHost(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

// parseAPIURL answers the root of a REST API at SCHEME://HOST:PORT/patroni;
// empty when s is none.
func parseAPIURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
