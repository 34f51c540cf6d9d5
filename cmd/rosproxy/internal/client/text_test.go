package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

var update = flag.Bool("update", false, "write the texts of testdata anew")

// isText compares a text with that of a file.
func isText(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time { return new(now.Add(-d)) }

// answered is what an instance answered, as it is decoded.
func answered(t *testing.T, at string, status api.Status, d *api.DrainState) answer[state] {
	t.Helper()
	raw, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newState(now, raw)
	if err != nil {
		t.Fatal(err)
	}
	s.drain = d
	return answer[state]{from: &instance{name: at}, value: s}
}

// statusText is what status prints.
func statusText(answers ...answer[state]) string {
	var b bytes.Buffer
	p := newPrinter(&b, nil)
	printStatus(p, answers, disagreements(answers))
	_ = p.flush()
	return b.String()
}

func master(address string, epoch uint64, since time.Duration) *api.MasterInfo {
	return &api.MasterInfo{Address: address, Epoch: epoch, Since: *ago(since)}
}

func label(name, source string, m *api.MasterInfo) api.LabelStatus {
	return api.LabelStatus{Label: name, Source: source, Master: m}
}

func TestTextOfStatus(t *testing.T) {
	europe, pg := label("europe", "service", master("10.0.0.1:7800", 3, 75*time.Hour)), label("pg", "leader-key", nil)
	europe.Active, europe.Held = 1234, 5
	pg.LostSince, pg.Reason, pg.Held = ago(3*time.Second), `"pg-1" on "n1": check "Service 'pg' check" is critical; "pg-2" on "n2": check "Serf Health Status" is critical`, 12
	pg.Failing = []api.FailingInfo{{ServiceID: "pg-1", Node: "n1", Check: "Service 'pg' check", Status: "critical"}}
	europe.FenceReport = &api.ReportInfo{Obeyed: 9, Lease: 8.1}
	serving := api.Status{
		Version: "v1.2.3", State: "serving", Uptime: 7384, PID: 4711, Generation: 2, Labels: []api.LabelStatus{europe, pg},
		Consul: []api.ConsulStatus{
			{Address: "10.0.0.7:8500", OK: true, LastContact: new(0.4), Index: 123},
			{Address: "10.0.0.8:8500", Error: "dial tcp 10.0.0.8:8500: connect: connection refused"},
		},
	}
	one := answered(t, "10.0.0.5:7802", serving, nil)

	behind := label("europe", "service", master("10.0.0.2:7800", 2, 80*time.Hour))
	behind.MastersSeen = 2
	behind.Paused = &api.PauseInfo{Until: *ago(-27 * time.Second)}
	behind.FenceReport = &api.ReportInfo{Error: "write rosproxy/fence/b-5-1f: 403 Forbidden"}
	draining := api.Status{Version: "v1.2.2", State: "draining", Uptime: 59, PID: 5, Generation: 1, Labels: []api.LabelStatus{behind, label("only-here", "static", master("[2001:db8::1]:6379", 1, time.Minute))}}
	other := answered(t, "unix:/run/rosproxy/other/admin.sock", draining,
		&api.DrainState{State: "draining", Active: 17, Started: ago(2 * time.Second), Accepting: true, Deadline: ago(-298 * time.Second)})

	down := answer[state]{from: &instance{name: "10.0.0.6:7802"}, err: errors.New("GET /status: connect: connection refused")}
	for name, text := range map[string]string{
		"status-of-one":                   statusText(one),
		"status-of-several-that-disagree": statusText(one, other, down),
		"status-of-nobody":                statusText(down),
	} {
		fits(t, text)
		isText(t, name, text)
	}
}

func TestNoMasterIsAnotherMasterToo(t *testing.T) {
	at := func(name string, m *api.MasterInfo) answer[state] {
		return answered(t, name, api.Status{State: "serving", Labels: []api.LabelStatus{label("a", "service", m)}}, nil)
	}
	some := master("10.0.0.1:1", 1, 0)
	down := answer[state]{from: &instance{name: "d:1"}, err: errForeign}
	if got := disagreements([]answer[state]{at("a:1", some), at("b:1", nil), down}); len(got) != 1 || len(got[0].Masters) != 2 || got[0].Masters[1].Master != nil {
		t.Errorf("got %+v; want a master and none", got)
	}
	for _, m := range []*api.MasterInfo{some, nil} {
		if got := disagreements([]answer[state]{at("a:1", m), down, at("b:1", m)}); len(got) != 0 {
			t.Errorf("got %+v of the same master; want nothing", got)
		}
	}
}

// TestLinesFitWhateverStandsInThem: labels and addresses as long as they can be, and longer.
func TestLinesFitWhateverStandsInThem(t *testing.T) {
	const ipv6 = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
	for _, long := range []string{strings.Repeat("label", 25), strings.Repeat("ü", 600), strings.Repeat("many words ", 60)} {
		l := label(long, "leader-key", master(ipv6, 1<<60, 30*24*time.Hour))
		l.Active, l.Held, l.Reason, l.Source = 1<<60, 1<<60, long, long
		s := api.Status{Version: long, State: "serving", Labels: []api.LabelStatus{l}, Consul: []api.ConsulStatus{{Address: long, Error: long}}}
		at := "unix:/" + strings.Repeat("path", 25)
		text := statusText(answered(t, at+"a", s, nil), answered(t, at+"b", s, nil))
		fits(t, text)
		if !strings.Contains(text, "…") {
			t.Errorf("got\n%s\nwant it said that something is left out", text)
		}

		var b bytes.Buffer
		p, table := newPrinter(&b, nil), newConnectionTable()
		table.add(connectionCells(api.Connection{
			ID: 1 << 60, Label: long, Client: ipv6, Source: ipv6, Master: ipv6, Epoch: 1 << 60, Age: 1e300, BytesUp: 1 << 63, BytesDown: 1 << 63, State: long,
		})...)
		table.print(p)
		_ = p.flush()
		fits(t, b.String())
		for line := range strings.Lines(text + b.String()) {
			if strings.Contains(line, "MASTER") && strings.Contains(line, "…") {
				t.Errorf("got %q; want whole titles, or none", line)
			}
		}
	}
}

func TestTextOfConnections(t *testing.T) {
	var b bytes.Buffer
	p, table := newPrinter(&b, nil), newConnectionTable()
	for _, c := range []api.Connection{
		{ID: 1, Label: "europe", Client: "192.0.2.1:50000", Master: "10.0.0.1:7800", Epoch: 3, Age: 3725, BytesUp: 999, BytesDown: 1000, State: "relaying"},
		{ID: 12, Label: "europe", Client: "10.0.0.9:41000", Source: "198.51.100.7:33333", Master: "10.0.0.1:7800", Epoch: 3, Age: 0.4, BytesUp: 12_345, BytesDown: 999_999, State: "closing"},
		{ID: 100, Label: "pg", Client: "192.0.2.2:50001", State: "held", Age: 59.6, BytesUp: 5_000_000_000_000},
	} {
		table.add(connectionCells(c)...)
	}
	table.print(p)
	_ = p.flush()
	fits(t, b.String())
	isText(t, "connections", b.String())
}

func TestAgesAndSizesAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 400 * time.Millisecond: "0s", 59 * time.Second: "59s", 59600 * time.Millisecond: "1m0s", time.Hour - 1: "1h0m",
		47 * time.Hour: "47h0m", 49 * time.Hour: "2d1h", seconds(1e300): "36500d0h",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v: got %s; want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1.0k", 9_949: "9.9k", 9_950: "10k", 999_499: "999k", 999_500: "1.0M", 1<<64 - 1: "18E"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: got %s; want %s", n, got, want)
		}
	}
}

// TestAgesAreByTheClockOfTheInstance, which may be another one than ours.
func TestAgesAreByTheClockOfTheInstance(t *testing.T) {
	for date, want := range map[string]time.Time{
		now.Add(-90 * time.Second).Format(time.RFC1123): now.Add(-90 * time.Second),
		now.Add(time.Hour).Format(time.RFC1123):         now.Add(time.Hour),
		now.Add(-time.Second).Format(time.RFC1123):      now, // it has no fractions
		"": now, "yesterday": now,
	} {
		date = strings.Replace(date, "UTC", "GMT", 1)
		if got := clockOf(date, now); !got.Equal(want) {
			t.Errorf("Date %q: got %v; want %v", date, got, want)
		}
	}
}

// FuzzStatusText: whatever an instance answers, the text fits.
func FuzzStatusText(f *testing.F) {
	f.Add([]byte(healthy), []byte(`{"state":"draining","active":3}`))
	f.Add([]byte(`{"state":"draining","labels":[{"label":"a\u001b[31m","master":{"address":"x y","epoch":1}},{"label":"b","lost_since":"2026-01-01T00:00:00Z"}],"consul":[{"last_contact_s":-1e300}]}`), []byte(`{"state":"\u202e"}`))
	f.Add([]byte("{\"state\":\"serving\",\"version\":\"\x9b31m\"}"), []byte("null"))
	f.Fuzz(func(t *testing.T, status, drains []byte) {
		s, err := newState(now, status)
		if err != nil {
			return
		}
		_ = json.Unmarshal(drains, &s.drain)
		a, b := answer[state]{from: &instance{name: "a:1"}, value: s}, answer[state]{from: &instance{name: "b:1"}, value: s}
		fits(t, statusText(a, b))
		fits(t, statusText(a))
		var out bytes.Buffer
		p := newPrinter(&out, nil)
		if err := p.document(newStatusDocument([]answer[state]{a}, nil)); err != nil {
			t.Errorf("document: %v", err)
		}
		_ = p.flush()
		if !json.Valid(out.Bytes()) || !utf8.Valid(out.Bytes()) || strings.ContainsFunc(out.String(), func(r rune) bool { return r == 0x1b || r == 0x9b || r == 0x202e }) {
			t.Errorf("got %q; want a document of what prints", out.String())
		}
	})
}
