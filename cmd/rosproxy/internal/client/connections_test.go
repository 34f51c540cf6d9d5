package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// TestListOfConnectionsIsPrintedAsItComes: it may be longer than the memory.
func TestListOfConnectionsIsPrintedAsItComes(t *testing.T) {
	more := make(chan struct{})
	at := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		separator := "["
		for n := range rowsAtATime {
			fmt.Fprintf(w, "%s{\"id\":%d,\"label\":\"a\",\"state\":\"held\"}\n", separator, n)
			separator = ","
		}
		fmt.Fprint(w, `,{"id":7777,"label":"a"`) // the decoder must not wait for the end of it
		w.(http.Flusher).Flush()
		<-more
		fmt.Fprint(w, "}]")
	})
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(context.WithoutCancel(t.Context()), config.Connections, config.Client{Admin: []config.Endpoint{at}}, Process{Stdout: w, Stderr: io.Discard})
		w.Close()
	}()
	var got bytes.Buffer
	buffer := make([]byte, 64<<10)
	for strings.Count(got.String(), "\n") < 1+rowsAtATime {
		n, err := r.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buffer[:n])
	}
	close(more)
	rest, _ := io.ReadAll(r)
	if code := <-ended; code != exitDone || !strings.Contains(string(rest), "7777") {
		t.Errorf("got %d, %q; want 0 and the last", code, rest)
	}
}

// TestListOfLongConnectionsIsReadToItsEnd: what is read ahead does not count.
func TestListOfLongConnectionsIsReadToItsEnd(t *testing.T) {
	const sizes = 600
	var list strings.Builder
	for n := range sizes {
		head, tail := `{"id":1,"label":"`, `"}`
		fmt.Fprint(&list, ","[:min(n, 1)], head, strings.Repeat("x", maxElement-n-len(head)-len(tail)), tail)
	}
	got := 0
	if err := elements(strings.NewReader("["+list.String()+"]"), func(listed, error) bool { got++; return true }); err != nil || got != sizes {
		t.Errorf("got %d, %v; want %d", got, err, sizes)
	}
}

// TestReaderThatWentAwayEndsTheList, as head does.
func TestReaderThatWentAwayEndsTheList(t *testing.T) {
	asked := 0
	at := fake(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		for separator := "["; r.Context().Err() == nil; separator = "," {
			if _, err := fmt.Fprint(w, separator, `{"id":1,"label":"a"}`); err != nil {
				return
			}
		}
	})
	other := fake(t, func(http.ResponseWriter, *http.Request) { asked++ })
	for _, asJSON := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var stderr bytes.Buffer
		code := Run(t.Context(), config.Connections, config.Client{Admin: []config.Endpoint{at, other}, JSON: asJSON}, Process{Stdout: w, Stderr: &stderr})
		w.Close()
		if code != exitNotDone || stderr.Len() > 0 {
			t.Errorf("got %d, %q; want 1 and no word", code, stderr.String())
		}
	}
	if asked != 2 {
		t.Errorf("got %d requests; want one of the first instance each time", asked)
	}
}
