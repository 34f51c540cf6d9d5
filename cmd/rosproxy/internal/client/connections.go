package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// listConnections prints the connections of one instance after the other, as
// they come: there may be a million of them.
func listConnections(ctx context.Context, s *session) int {
	list, separator := printConnections, "\n"
	if s.config.JSON {
		list, separator = writeConnections, ","
		fmt.Fprint(s.out.w, `{"instances": [`)
		defer fmt.Fprintln(s.out.w, "\n]}")
	}
	for n, i := range s.instances {
		if n > 0 {
			fmt.Fprint(s.out.w, separator)
		}
		if err := list(ctx, s, i); err != nil {
			s.fail(i, err)
		}
		if s.out.flush() != nil { // nobody reads it any more; Run says so
			break
		}
	}
	return s.code()
}

// maxElement bounds what one connection of a list may take.
const maxElement = 16 << 10

// listed is a connection and the text of it, with what this program does not know.
type listed struct {
	api.Connection
	raw json.RawMessage
}

// connections are those of one instance, as they come; the last may be an error.
func (i *instance) connections(ctx context.Context, q config.ConnectionsQuery) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		query := url.Values{}
		if q.Label != "" {
			query.Set("label", q.Label)
		}
		if q.Limit > 0 {
			query.Set("limit", strconv.Itoa(q.Limit))
		}
		const method, path = "GET", "/connections"
		ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, fmt.Errorf("the answer took longer than %v", listTimeout))
		defer cancel()
		a, err := i.open(ctx, method, path, query)
		if err != nil {
			yield(listed{}, err)
			return
		}
		defer a.Body.Close()
		if err := elements(a.Body, yield); err != nil {
			yield(listed{}, i.explain(ctx, method, path, err))
		}
	}
}

// elements gives those of a JSON array, each of at most maxElement bytes, to yield
// until that wants no more.
func elements(body io.Reader, yield func(listed, error) bool) error {
	bounded := &io.LimitedReader{R: body, N: maxElement}
	d := json.NewDecoder(bounded)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return cmp.Or(failure(err), errForeign)
	}
	for bounded.N = maxElement; d.More(); bounded.N = maxElement {
		var c listed
		bounded.N = maxElement // More may have read all of it, ahead
		if err := d.Decode(&c.raw); err != nil {
			return cmp.Or(failure(err), errForeign)
		}
		if json.Unmarshal(c.raw, &c.Connection) != nil {
			return errForeign
		}
		if !yield(c, nil) {
			return nil
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim(']') {
		return cmp.Or(failure(err), errForeign)
	}
	return nil
}

// failure is an error of reading; nil: one of what was read.
func failure(err error) error {
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// rowsAtATime is how many lines are aligned with each other before they are printed.
const rowsAtATime = 500

// printConnections prints those of one instance for people.
func printConnections(ctx context.Context, s *session, i *instance) (failed error) {
	if s.several() {
		s.out.paragraph(0, 2, text{i.name, bold})
	}
	t, n := newConnectionTable(), 0
	defer func() {
		if n == 0 && failed == nil {
			fmt.Fprintln(s.out.w, "no connections")
		}
	}()
	for c, err := range i.connections(ctx, s.config.Connections) {
		if failed = err; failed != nil {
			break
		}
		t.add(connectionCells(c.Connection)...)
		if n++; n%rowsAtATime == 0 {
			t.print(s.out)
			if s.out.flush() != nil {
				return nil
			}
		}
	}
	if len(t.rows) > 0 {
		t.print(s.out)
	}
	return failed
}

func newConnectionTable() *table {
	return &table{columns: []column{
		{title: "ID", right: true, gives: 6, least: 8},
		{title: "LABEL", gives: 2, least: 8},
		{title: "CLIENT", gives: 4, least: 21},
		{title: "BY", gives: 1}, // the peer, where a PROXY header names the client
		{title: "MASTER", gives: 5, least: 21},
		{title: "EPOCH", right: true, gives: 3},
		{title: "AGE", right: true, gives: 6, least: 6},
		{title: "UP", right: true},
		{title: "DOWN", right: true},
		{title: "STATE", gives: 6, least: 8},
	}}
}

func connectionCells(c api.Connection) []text {
	client, by := c.Client, ""
	if c.Source != "" {
		client, by = c.Source, c.Client
	}
	var cells []text
	for _, s := range []string{
		strconv.FormatUint(c.ID, 10), c.Label, client, by, cmp.Or(c.Master, "-"), strconv.FormatUint(c.Epoch, 10),
		ageText(seconds(c.Age)), sizeText(c.BytesUp), sizeText(c.BytesDown), c.State,
	} {
		cells = append(cells, text{s, plain})
	}
	return cells
}

// sizeText is a number of bytes for people.
func sizeText(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	v, unit := float64(n), 0
	for ; v >= 999.5; unit++ {
		v /= 1000
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%c", v, " kMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f%c", v, " kMGTPE"[unit])
}

// writeConnections writes those of one instance for programs.
func writeConnections(ctx context.Context, s *session, i *instance) (failed error) {
	w := s.out.w
	fmt.Fprintf(w, "\n{\"admin\": %s, \"connections\": [", quoted(i.name))
	separator := "\n"
	for c, err := range i.connections(ctx, s.config.Connections) {
		var compact bytes.Buffer
		if failed = err; failed != nil || json.Compact(&compact, c.raw) != nil { // which it has been decoded from
			break
		}
		fmt.Fprint(w, separator)
		if _, err := w.Write(escapeHidden(compact.Bytes())); err != nil {
			break // Run says so
		}
		separator = ",\n"
	}
	fmt.Fprint(w, "]")
	if failed != nil {
		fmt.Fprintf(w, ", \"error\": %s", quoted(failed.Error()))
	}
	fmt.Fprint(w, "}")
	return failed
}

// quoted is s as JSON.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // no string has an error
	}
	return escapeHidden(b)
}
