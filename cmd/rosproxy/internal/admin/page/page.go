// Package page is the status page for people: one document of HTML, CSS and
// JavaScript, which follows /status by itself and needs nothing from elsewhere.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

//go:embed page.html page.css *.js
var files embed.FS

// scripts are the parts of the script, in their order.
var scripts = []string{"text.js", "rates.js", "labels.js", "panel.js", "actions.js", "main.js"}

// Page is the document, as it is served.
type Page struct {
	document []byte
	policy   string // Content-Security-Policy
}

// New makes the page of an instance that asks for a token, or for none.
func New(needsToken bool) *Page {
	style, script := read("page.css"), ""
	for _, name := range scripts {
		script += read(name)
	}
	document := strings.NewReplacer("/* style */", style, "/* script */", script).Replace(read("page.html"))
	if needsToken {
		document = strings.Replace(document, `data-token="none"`, `data-token="needed"`, 1)
	}
	return &Page{document: []byte(document), policy: policy(style, script)}
}

func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is not in the binary; every test of the page finds it
	}
	return string(b)
}

// policy lets the page have its own style and script, its icon, and the endpoints
// of the process that serves it.
func policy(style, script string) string {
	return "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("'sha256-%s'", base64.StdEncoding.EncodeToString(sum[:]))
}

// ServeHTTP serves the document.
func (p *Page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(p.document) // the client is gone: nobody left to tell
}
