package consultest_test

import "testing"

// errorTexts holds what Consul answers to requests that it does not like, or that have little to say.
func errorTexts(t *testing.T, c consul) {
	const nobody = "11111111-1111-1111-1111-111111111111"
	for _, tc := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"GET", "/v1/nope", "", 404, "Invalid URL path: not a recognized HTTP API endpoint\n"},
		{"POST", "/v1/health/service/x", "", 405, "method POST not allowed"},
		{"GET", "/v1/health/service/", "", 400, "Missing service name"},
		{"GET", "/v1/health/service/x?index=abc", "", 400, "Invalid index"},
		{"GET", "/v1/health/service/x?index=1&wait=abc", "", 400, "Invalid wait time"},
		{"GET", "/v1/health/service/x?stale&consistent", "", 400, "Cannot specify ?stale with ?consistent, conflicting semantics."},
		{"GET", "/v1/health/service/x?dc=nope", "", 500, "No path to datacenter"},
		{"GET", "/v1/health/service/x?passing=bogus", "", 400, "Invalid value for ?passing"},
		{"PUT", "/v1/agent/service/register", `{"Name":"x","Bogus":1}`, 400, `Request decode failed: json: unknown field "Bogus"`},
		{"PUT", "/v1/agent/service/register", `{"ID":"x"}`, 400, "Missing service name"},
		{"PUT", "/v1/agent/service/deregister/nope", "", 404, `Unknown service ID "nope". Ensure that the service ID is passed, not the service name.`},
		{"PUT", "/v1/agent/service/maintenance/nope?enable=true", "", 404, `Unknown service ID "nope". Ensure that the service ID is passed, not the service name.`},
		{"PUT", "/v1/agent/service/maintenance/nope", "", 400, "Missing value for enable"},
		{"PUT", "/v1/agent/check/pass/nope", "", 404, `Unknown check ID "nope". Ensure that the check ID is passed, not the check name.`},
		{"PUT", "/v1/agent/check/update/nope", `{"Status":"bogus"}`, 400, "Invalid check status: 'bogus'"},
		{"PUT", "/v1/session/create", `{"TTL":"100ms"}`, 500, "Invalid Session TTL '100000000', must be between [1s=24h0m0s]"},
		{"PUT", "/v1/session/create", `{"TTL":"48h"}`, 500, "Invalid Session TTL '172800000000000', must be between [1s=24h0m0s]"},
		{"PUT", "/v1/session/create", `{"Behavior":"x"}`, 500, "Invalid Behavior setting 'x'"},
		{"PUT", "/v1/session/create", `{"Checks":["nope"]}`, 500, "apply failed: Missing check 'nope' registration"},
		{"PUT", "/v1/session/create", `{"Node":"nope"}`, 500, "apply failed: Missing node registration"},
		{"PUT", "/v1/session/renew/" + nobody, "", 404, "Session id '" + nobody + "' not found"},
		{"PUT", "/v1/kv/", "v", 400, "Missing key name"},
		{"PUT", "/v1/kv/x?acquire=" + nobody, "v", 500, `raft apply failed: invalid session "` + nobody + `"`},
		{"PUT", "/v1/kv/x?cas=abc", "v", 500, `strconv.ParseUint: parsing "abc": invalid syntax`},
		{"PUT", "/v1/kv/x?acquire=a&cas=1", "v", 400, "Conflicting flags: acquire=a&cas=1"},
		{"GET", "/v1/kv/missing", "", 404, ""},
		{"GET", "/v1/kv/", "", 400, "Missing key name"},
		{"GET", "/v1/kv/x?dc=nope", "", 500, "No path to datacenter"},
		{"GET", "/v1/kv/x?stale&consistent", "", 400, "Cannot specify ?stale with ?consistent, conflicting semantics."},
		{"GET", "/v1/kv/x?index=abc", "", 400, "Invalid index"},
		{"PUT", "/v1/kv/x?acquire=", "v", 500, "raft apply failed: missing session"},
		{"PUT", "/v1/kv/x?release=", "v", 500, "raft apply failed: missing session"},
		{"DELETE", "/v1/kv/x?recurse&cas=1", "", 400, "Conflicting flags: cas=1&recurse="},
		{"PUT", "/v1/catalog/register", `{"Node":"n3"}`, 500, "Must provide address if SkipNodeUpdate is not set"},
		{"PUT", "/v1/catalog/deregister", `{}`, 500, "Must provide node"},
	} {
		code, _, text := c.raw(t, tc.method, tc.path, tc.body)
		if code != tc.code || text != tc.text {
			t.Errorf("%s %s %s: got %d %q; want %d %q", tc.method, tc.path, tc.body, code, text, tc.code, tc.text)
		}
	}
}
