package discovery

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

var (
	usableKeys   = []string{"leader", "service/batman/leader", "mysql/master/main", "a b/ä", "a?b#c%d;e\\f=g", ".a/..b", strings.Repeat("k", MaxLeaderKey)}
	unusableKeys = []string{"/leader", "service//leader", "service/./leader", "service/../leader", "..", "a\nb", "a\x00b", "a\u00a0b", "a\u200bb", "a/\x7f"}
)

func TestLeaderKeys(t *testing.T) {
	for _, key := range usableKeys {
		if err := CheckLeaderKey(key, AddressFormat); err != nil {
			t.Errorf("%q: got %v; want it taken", key, err)
		}
		if err, alone := CheckLeaderKey(key, PatroniFormat), !strings.Contains(key, "/"); (err != nil) != alone {
			t.Errorf("%q with Patroni: got %v; want an error: %t", key, err, alone)
		}
	}
	for _, key := range append(unusableKeys, "", "/", "service/", "a\xffb", strings.Repeat("k", MaxLeaderKey+1)) {
		if CheckLeaderKey(key, AddressFormat) == nil {
			t.Errorf("%q: got no error; want one", key)
		}
	}
}

// Every key that is taken can be read from the real Consul under its own name,
// and of those that are not, none can.
func TestRealConsulServesTheLeaderKeysThatAreTaken(t *testing.T) {
	a := realconsul.StartDev(t)
	kv := a.Client().KV()
	for _, key := range usableKeys {
		if _, err := kv.Put(&api.KVPair{Key: key, Value: []byte("x")}, nil); err != nil {
			t.Errorf("put %q: %v", key, err)
		} else if pair, _, err := kv.Get(key, nil); err != nil || pair == nil || pair.Key != key {
			t.Errorf("get %q: got %+v, %v; want the key that was put", key, pair, err)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, key := range unusableKeys {
		req, err := http.NewRequest(http.MethodGet, "http://"+a.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Path = "/v1/kv/" + key
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("get %q: %v", key, err)
			continue
		}
		_, readErr := io.Copy(io.Discard, resp.Body)
		if err := errors.Join(readErr, resp.Body.Close()); err != nil {
			t.Errorf("get %q: %v", key, err)
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound {
			t.Errorf("get %q: got %s; want it refused or redirected", key, resp.Status)
		}
	}
}
