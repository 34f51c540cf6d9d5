package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/proxy"
)

// serveConnections lists the live connections; ?label= and ?limit= narrow it.
func (a *Server) serveConnections(w http.ResponseWriter, r *http.Request) {
	f, err := a.parseFilter(r)
	if err != nil {
		writeError(w, codeOf(err), err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	writeConnections(bufio.NewWriter(w), a.data.EachConnection(f))
}

// writeConnections writes an array, one connection a line, each when there is
// room for it: the list can be long. An error is the client's going away.
func writeConnections(w *bufio.Writer, connections iter.Seq[proxy.ConnInfo]) {
	separator := "["
	for c := range connections {
		line, err := json.Marshal(api.Connection{
			ID:        c.ID,
			Label:     c.Label,
			Client:    c.Client,
			Source:    c.Source,
			Master:    c.Master,
			Epoch:     c.Epoch,
			Age:       seconds(c.Age),
			BytesUp:   c.BytesUp,
			BytesDown: c.BytesDown,
			State:     c.State,
		})
		if err != nil {
			return
		}
		_, _ = w.WriteString(separator)
		if _, err := w.Write(line); err != nil {
			return
		}
		separator = ",\n"
	}
	if separator == "[" {
		_, _ = w.WriteString(separator)
	}
	_, _ = w.WriteString("]\n")
	_ = w.Flush()
}

// serveKill resets the live connections, of one label with ?label=.
func (a *Server) serveKill(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "label")
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	label := q.Get("label")
	n, err := a.data.Kill(label)
	if err != nil {
		writeError(w, codeOf(err), fmt.Errorf("label %q: %w", label, err))
		return
	}
	a.log.Info().Str("label", label).Int("closed", n).Str("peer", peerOf(r)).Msg("connections killed")
	writeJSON(w, http.StatusOK, map[string]int{"closed": n})
}

func (a *Server) parseFilter(r *http.Request) (proxy.Filter, error) {
	q, err := parseQuery(r, "label", "limit")
	if err != nil {
		return proxy.Filter{}, err
	}
	f := proxy.Filter{Label: q.Get("label")}
	if q.Has("limit") {
		if f.Limit, err = strconv.Atoi(q.Get("limit")); err != nil || f.Limit < 1 {
			return proxy.Filter{}, fmt.Errorf("limit %q: not a whole number from 1", q.Get("limit"))
		}
	}
	if f.Label != "" && !a.hasLabel(f.Label) {
		return proxy.Filter{}, fmt.Errorf("label %q: %w", f.Label, proxy.ErrUnknownLabel)
	}
	return f, nil
}

func (a *Server) hasLabel(label string) bool {
	for _, l := range a.data.Overview().Labels {
		if l.Label == label {
			return true
		}
	}
	return false
}

// codeOf is the code of a request that cannot be met.
func codeOf(err error) int {
	if errors.Is(err, proxy.ErrUnknownLabel) {
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}
