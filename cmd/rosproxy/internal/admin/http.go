package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// parseQuery reads a query in which each of known may stand once, with a
// value, and nothing else.
func parseQuery(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%q: unknown parameter; known here: %s", name, cmp.Or(strings.Join(known, ", "), "none"))
		case len(values) > 1:
			return nil, fmt.Errorf("%s %q: given %d times", name, values[1], len(values))
		case values[0] == "":
			return nil, fmt.Errorf("%s %q: empty", name, values[0])
		}
	}
	return q, nil
}

func writeError(w http.ResponseWriter, code int, err error) {
	writeJSON(w, code, api.Error{Error: err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody left to tell
}

// seconds is d to the millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1e3 }

// rfc3339 gives t the precision and zone in which it is shown.
func rfc3339(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
