package consultest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// alone is a Consul whose keys nobody else writes.
type alone struct {
	consul
	restart func() // as of a dev agent: it comes back empty
}

// keyConformance is what whoever follows a leader key relies on. The cases run
// one after another, since an absent key shows the index of the whole table.
var keyConformance = []struct {
	name string
	run  func(*testing.T, alone)
}{
	{"IndexOfAKeyIsItsModifyIndex", keyIndex},
	{"IndexOfAnAbsentKeyIsThatOfTheTable", absentIndex},
	{"PollOnAKeySleepsThroughOthers", keyPollSleeps},
	{"PollOnAnAbsentKeySleepsThroughOthers", absentPollSleeps},
	{"PollOnAnAbsentKeyWithAnOldIndexIsAnsweredAtOnce", absentPollWithOldIndex},
	{"PollWakesOnEveryChangeOfALock", pollWakesOnLock},
	{"ConsistentReadAndPoll", consistentKey},
	{"IdenticalWriteChangesNothing", identicalWrite},
	{"ReacquireWithTheSameValueKeepsModifyIndex", reacquire},
	{"AcquireByAnotherSessionRaisesModifyIndex", acquireByAnother},
	{"AcquireOfAKeyWithoutASession", acquireUnlocked},
	{"DeletedKeyIsFreeAtOnce", deletedKeyIsFree},
	{"ExpiredSessionDeletesItsKey", expiryDeletes},
	{"ExpiredSessionReleasesItsKey", expiryReleases},
	{"LargestValue", largestValue},
	{"AnswerForAKeyHasTheHeadersOfConsul", keyHeaders},
	{"RestoreBringsBackLowerIndexes", restoreLowers},
	{"PollThatWaitsIsToldNothingNewByARestore", restoreAndPoll},
	{"WipedClusterStartsOver", wiped},
}

func TestDoubleKeysConform(t *testing.T) {
	t.Parallel()
	s, err := consultest.Listen(consultest.Config{SessionTTLMin: time.Second})
	must(t, err)
	t.Cleanup(s.Close)
	conformKeys(t, alone{consul{s.Client(), s.URL, "consultest"}, s.Restart})
}

// TestRealConsulKeysConform proves that the cases are true.
func TestRealConsulKeysConform(t *testing.T) {
	t.Parallel()
	a := realconsul.StartDev(t, realconsul.SessionTTLMin(time.Second)) // keys are never streamed
	conformKeys(t, alone{consul{a.Client(), a.URL, a.Node}, a.Restart})
}

func conformKeys(t *testing.T, c alone) {
	for _, tc := range keyConformance {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, c) })
	}
}

// put is a plain write.
func (c consul) put(t *testing.T, key, value string) {
	t.Helper()
	_, err := c.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil)
	must(t, err)
}

// drop deletes a key.
func (c consul) drop(t *testing.T, key string) {
	t.Helper()
	_, err := c.KV().Delete(key, nil)
	must(t, err)
}

// keyNow reads a key, nil when it is absent, and the index of the answer.
func (c consul) keyNow(t *testing.T, key string) (*api.KVPair, uint64) {
	t.Helper()
	k, meta, err := c.KV().Get(key, nil)
	must(t, err)
	return k, meta.LastIndex
}

// keyAnswer is what a poll on a key got.
type keyAnswer struct {
	key   *api.KVPair
	index uint64
	err   error
}

// pollKey begins a long poll.
func (c consul) pollKey(key string, index uint64, wait time.Duration) <-chan keyAnswer {
	got := make(chan keyAnswer, 1)
	go func() {
		k, meta, err := c.KV().Get(key, &api.QueryOptions{WaitIndex: index, WaitTime: wait})
		if err != nil {
			meta = &api.QueryMeta{}
		}
		got <- keyAnswer{k, meta.LastIndex, err}
	}()
	return got
}

// answered is the answer to a poll that must come.
func answered(t *testing.T, got <-chan keyAnswer) (*api.KVPair, uint64) {
	t.Helper()
	select {
	case a := <-got:
		must(t, a.err)
		return a.key, a.index
	case <-time.After(testTimeout):
		t.Fatalf("the poll was not answered in %v", testTimeout)
	}
	return nil, 0
}

// asleep fails when the poll is answered before quiet is over.
func asleep(t *testing.T, got <-chan keyAnswer) {
	t.Helper()
	select {
	case a := <-got:
		t.Fatalf("poll: got %+v; want none yet", a)
	case <-time.After(quiet):
	}
}

func keyIndex(t *testing.T, c alone) {
	c.put(t, "ki", "1")
	c.put(t, "ki-other", "1")
	k, index := c.keyNow(t, "ki")
	if index != k.ModifyIndex || k.CreateIndex != k.ModifyIndex || k.LockIndex != 0 || k.Session != "" {
		t.Errorf("new key: got index %d, key %+v; want its ModifyIndex, which is its CreateIndex, and no lock", index, k)
	}
	c.put(t, "ki", "2")
	now, index := c.keyNow(t, "ki")
	if index != now.ModifyIndex || now.ModifyIndex <= k.ModifyIndex || now.CreateIndex != k.CreateIndex {
		t.Errorf("changed key: got index %d, key %+v; want a higher ModifyIndex and CreateIndex %d", index, now, k.CreateIndex)
	}
}

func absentIndex(t *testing.T, c alone) {
	c.put(t, "ai-other", "1")
	written := c.key(t, "ai-other").ModifyIndex
	if k, index := c.keyNow(t, "ai"); k != nil || index != written {
		t.Errorf("absent key: got %+v, index %d; want none, and %d of the last write", k, index, written)
	}
	c.drop(t, "ai-other")
	if k, index := c.keyNow(t, "ai"); k != nil || index <= written {
		t.Errorf("absent key after a deletion elsewhere: got %+v, index %d; want none, above %d", k, index, written)
	}
}

func keyPollSleeps(t *testing.T, c alone) {
	c.put(t, "kp", "1")
	_, index := c.keyNow(t, "kp")
	got := c.pollKey("kp", index, 10*testTimeout)
	c.put(t, "kp/below", "1")
	c.put(t, "kp2", "1")
	c.drop(t, "kp2")
	asleep(t, got)
	c.put(t, "kp", "2")
	if k, now := answered(t, got); k == nil || string(k.Value) != "2" || now != k.ModifyIndex {
		t.Errorf("key: got %+v, index %d; want value 2 and its ModifyIndex", k, now)
	}
}

func absentPollSleeps(t *testing.T, c alone) {
	_, index := c.keyNow(t, "ap")
	got := c.pollKey("ap", index, 10*testTimeout)
	asleep(t, got) // or a write may come before it waits, and then it is answered at once
	c.put(t, "ap/below", "1")
	c.put(t, "aq", "1")
	c.drop(t, "aq")
	asleep(t, got)
	c.put(t, "ap", "1")
	if k, now := answered(t, got); k == nil || now != k.ModifyIndex || now <= index {
		t.Errorf("key: got %+v, index %d; want it under its ModifyIndex above %d", k, now, index)
	}
}

func absentPollWithOldIndex(t *testing.T, c alone) {
	_, index := c.keyNow(t, "ao")
	c.put(t, "ao-other", "1")
	if k, now := answered(t, c.pollKey("ao", index, 10*testTimeout)); k != nil || now != c.key(t, "ao-other").ModifyIndex {
		t.Errorf("absent key: got %+v, index %d; want none, with the index of the last write", k, now)
	}
}

func consistentKey(t *testing.T, c alone) {
	c.put(t, "ck", "1")
	k, meta, err := c.KV().Get("ck", &api.QueryOptions{RequireConsistent: true, Datacenter: "dc1"})
	if err != nil || k == nil || meta.LastIndex != k.ModifyIndex {
		t.Fatalf("consistent read: got %+v, %+v, %v; want the key under its ModifyIndex", k, meta, err)
	}
	c.put(t, "ck", "2")
	now, _, err := c.KV().Get("ck", &api.QueryOptions{RequireConsistent: true, WaitIndex: meta.LastIndex, WaitTime: 10 * testTimeout})
	if err != nil || now == nil || string(now.Value) != "2" {
		t.Errorf("consistent poll: got %+v, %v; want value 2", now, err)
	}
}

func identicalWrite(t *testing.T, c alone) {
	c.put(t, "iw", "1")
	was := c.key(t, "iw").ModifyIndex
	c.put(t, "iw", "1")
	if now := c.key(t, "iw").ModifyIndex; now != was {
		t.Errorf("ModifyIndex after the same write: got %d; want %d", now, was)
	}
}

func largestValue(t *testing.T, c alone) {
	const most = 512 << 10
	value := bytes.Repeat([]byte("x"), most)
	c.put(t, "lv", string(value))
	if k := c.key(t, "lv"); !bytes.Equal(k.Value, value) {
		t.Errorf("value: got %d bytes; want the %d that were written", len(k.Value), most)
	}
	req, err := http.NewRequest("PUT", c.url+"/v1/kv/lv", strings.NewReader(string(value)+"x"))
	must(t, err)
	req.Close = true
	req.Header.Set("Expect", "100-continue") // a refusal is no reset while the body is being sent
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	const want = "Request body(524289 bytes) too large, max size: 524288 bytes. See https://www.consul.io/docs/agent/config/config-files#kv_max_value_size."
	if resp.StatusCode != http.StatusRequestEntityTooLarge || string(text) != want {
		t.Errorf("a byte more: got %d %q; want %d %q", resp.StatusCode, text, http.StatusRequestEntityTooLarge, want)
	}
}

func keyHeaders(t *testing.T, c alone) {
	c.put(t, "kh", "1")
	type header struct{ known, contact, backend, consistency, filtered, policy, kind string }
	for _, tc := range []struct {
		query string
		code  int
		want  header
	}{
		{"kh", 200, header{"true", "0", "blocking-query", "", "", "allow", "application/json"}},
		{"kh?consistent", 200, header{"true", "0", "blocking-query", "", "", "allow", "application/json"}},
		{"kh?index=1", 200, header{"true", "0", "blocking-query", "", "", "allow", "application/json"}},
		{"kh?raw", 200, header{"true", "0", "blocking-query", "", "", "allow", "text/plain"}},
		{"kh-absent", 404, header{"true", "0", "blocking-query", "", "", "allow", ""}},
		{"kh-absent?recurse", 404, header{"true", "0", "blocking-query", "", "", "allow", ""}},
	} {
		code, h, _ := c.raw(t, "GET", "/v1/kv/"+tc.query, "")
		got := header{h.Get("X-Consul-KnownLeader"), h.Get("X-Consul-LastContact"), h.Get("X-Consul-Query-Backend"),
			h.Get("X-Consul-Effective-Consistency"), h.Get("X-Consul-Results-Filtered-By-ACLs"), h.Get("X-Consul-Default-ACL-Policy"), h.Get("Content-Type")}
		if code != tc.code || got != tc.want || h.Get("X-Consul-Index") == "" {
			t.Errorf("%s: got %d, %+v, index %q; want %d, %+v and an index", tc.query, code, got, h.Get("X-Consul-Index"), tc.code, tc.want)
		}
	}
}
