package patronitest

import (
	"bytes"
	"net/http"
	"time"
)

// Status answers with a code and a body.
func Status(code int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		w.Write([]byte(body)) // a client that has gone away is no trouble of ours
	})
}

// Hang does not answer until the client goes, or the member is stopped.
func Hang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// Drip answers 200 at once, and then with a space every so often, for ever.
func Drip(every time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			if _, err := w.Write([]byte(" ")); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-t.C:
			case <-r.Context().Done():
				return
			}
		}
	})
}

// Huge answers 200 with size bytes.
func Huge(size int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for left := size; left > 0; left -= int64(len(chunk)) {
			if _, err := w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
				return
			}
		}
	})
}

// Redirect sends clients to another address with 302.
func Redirect(url string) http.Handler { return http.RedirectHandler(url, http.StatusFound) }
