package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asking are the commands that ask each instance one thing or two.
var asking = []config.Command{config.Status, config.Connections, config.Drain, config.Undrain}

// fake is an instance that answers each request so.
func fake(t *testing.T, answer http.HandlerFunc) config.Endpoint {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return config.Endpoint{Network: "tcp", Address: s.Listener.Addr().String()}
}

// says is an instance that answers each request with that text.
func says(t *testing.T, text string) config.Endpoint {
	t.Helper()
	return fake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

// run runs a command, with what it was told in c.
func run(t *testing.T, command config.Command, c config.Client) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), command, c, Process{Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

// fits checks that a text is fit for a terminal.
func fits(t *testing.T, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("got %q; want only what prints", text[i:min(len(text), i+100)])
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := len([]rune(line)); n > columns || strings.HasSuffix(line, " ") {
			t.Errorf("got a line of %d characters, %q; want %d at most, and no space at its end", n, line, columns)
		}
	}
}

const healthy = `{"version":"v1","state":"serving","uptime_s":1,"pid":7,"generation":1,"labels":[],"consul":[]}`

// TestAnswerThatIsNoRosproxysIsAnError, of every command, whatever it is.
func TestAnswerThatIsNoRosproxysIsAnError(t *testing.T) {
	long := strings.Repeat("x", maxElement)
	for name, text := range map[string]string{
		"nothing":             "",
		"a page":              "<html><body>It works!</body></html>",
		"null":                "null",
		"a number":            "7",
		"an empty object":     "{}",
		"an object of others": `{"status":"UP"}`,
		"a list of others":    `[7, "x"]`,
		"another type":        `{"state":7,"labels":"none"}`,
		"half of one":         `{"version":"v1","state":"ser`,
		"half a list":         `[{"id":1,"label":"a"},`,
		"a list without end":  `[{"id":1,"label":"a"}`,
		"a deep one":          strings.Repeat("[", 100_000),
		"a long string":       `[{"id":1,"label":"` + strings.Repeat(long, 4) + `"}]`,
		"much room":           "[" + strings.Repeat(" ", 1<<20) + "]",
		"control characters":  "\x1b[2J\x9b31m",
	} {
		at := says(t, text)
		for _, command := range asking {
			for _, asJSON := range []bool{false, true} {
				code, stdout, stderr := run(t, command, config.Client{Admin: []config.Endpoint{at}, JSON: asJSON})
				if code != exitNotDone || !strings.HasPrefix(stderr, "rosproxy: "+at.Address+": ") || strings.Count(stderr, "\n") != 1 {
					t.Errorf("%s, %s: got %d, %q; want 1 and one line about the instance", command, name, code, stderr)
				}
				if asJSON && !json.Valid([]byte(stdout)) {
					t.Errorf("%s, %s: got %q; want a document", command, name, stdout)
				}
				if !asJSON {
					fits(t, stdout)
				}
			}
		}
	}
}

// TestAnswerWithoutEndIsBrokenOff, wherever it has none.
func TestAnswerWithoutEndIsBrokenOff(t *testing.T) {
	filler := bytes.Repeat([]byte("x"), 64<<10)
	at := fake(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `[{"id":1,"label":"`)
		for r.Context().Err() == nil {
			if _, err := w.Write(filler); err != nil {
				return
			}
		}
	})
	i := newInstance(at, "")
	defer i.close()
	i.room = 1 << 20
	if _, err := i.state(t.Context()); err == nil || err.Error() != "GET /status: the answer is longer than 1048576 bytes" {
		t.Errorf("state: got %v; want that it is too long", err)
	}
	code, _, stderr := run(t, config.Connections, config.Client{Admin: []config.Endpoint{at}})
	if code != exitNotDone || stderr != "rosproxy: "+at.Address+": GET /connections: not the answer of a rosproxy\n" {
		t.Errorf("connections: got %d, %q; want 1 and the reason", code, stderr)
	}
	headers := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
		_, _ = io.WriteString(w, healthy)
	})
	if code, _, stderr := run(t, config.Status, config.Client{Admin: []config.Endpoint{headers}}); code != exitNotDone || !strings.Contains(stderr, "exceeded") {
		t.Errorf("headers: got %d, %q; want 1 and the reason", code, stderr)
	}
}

func TestInstanceThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	trickles := fake(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	for _, e := range []config.Endpoint{{Network: "tcp", Address: silent.Addr().String()}, trickles} {
		i := newInstance(e, "")
		defer i.close()
		i.patience = 100 * time.Millisecond
		if _, err := i.state(t.Context()); err == nil || err.Error() != "GET /status: no answer within 100ms" {
			t.Errorf("got %v; want that it did not answer in time", err)
		}
	}
}

// TestTokenGoesToNobodyElse: an instance that redirects is not followed.
func TestTokenGoesToNobodyElse(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	thief := fake(t, func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) })
	at := fake(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+thief.Address+r.URL.Path, http.StatusTemporaryRedirect)
	})
	for _, command := range asking {
		if code, _, stderr := run(t, command, config.Client{Admin: []config.Endpoint{at}, TokenFile: token}); code != exitNotDone || !strings.Contains(stderr, "307 Temporary Redirect") {
			t.Errorf("%s: got %d, %q; want 1 and the redirect", command, code, stderr)
		}
	}
	if len(got) > 0 {
		t.Errorf("got %d requests, with %q; want none", len(got), got)
	}
}

func TestErrorOfAnInstanceIsShownWithoutWhatDoesNotPrint(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"the \u001b[31mprocess\nis stopping"}`: "409 Conflict: the [31mprocess is stopping\n",
		`{"error":"` + strings.Repeat("x", maxError):     "409 Conflict: not the answer of a rosproxy\n",
		"<html>": "409 Conflict: not the answer of a rosproxy\n",
	} {
		at := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, body)
		})
		if code, _, stderr := run(t, config.Undrain, config.Client{Admin: []config.Endpoint{at}}); code != exitNotDone || stderr != "rosproxy: "+at.Address+": DELETE /drain: "+want {
			t.Errorf("got %d, %q; want %q", code, stderr, want)
		}
	}
}

func TestFieldsOfALaterVersionReachProgramsAndDisturbNobody(t *testing.T) {
	at := says(t, strings.Replace(healthy, `"pid":7`, `"pid":7,"mood":{"good":true}`, 1))
	code, stdout, stderr := run(t, config.Status, config.Client{Admin: []config.Endpoint{at}, JSON: true})
	var d struct {
		Instances []struct{ Status map[string]any }
	}
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != exitDone || stderr != "" {
		t.Fatalf("got %d, %s%s, %v; want a document", code, stdout, stderr, err)
	}
	if got := fmt.Sprint(d.Instances[0].Status["mood"]); got != "map[good:true]" {
		t.Errorf("got %s; want the field as it is", stdout)
	}
}
