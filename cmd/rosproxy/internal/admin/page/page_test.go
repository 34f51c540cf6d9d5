package page

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func served(t *testing.T, needsToken bool) (document string, policy string) {
	t.Helper()
	w := httptest.NewRecorder()
	New(needsToken).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w.Body.String(), w.Header().Get("Content-Security-Policy")
}

// between are the parts of a document between two texts.
func between(document, begin, end string) (parts []string) {
	for _, rest := range strings.Split(document, begin)[1:] {
		part, _, _ := strings.Cut(rest, end)
		parts = append(parts, part)
	}
	return parts
}

// TestPolicyNamesTheOneScriptAndTheOneStyle: as they are in the document, or
// no browser would have them; and nothing else.
func TestPolicyNamesTheOneScriptAndTheOneStyle(t *testing.T) {
	for _, needsToken := range []bool{false, true} {
		document, policy := served(t, needsToken)
		scripts, styles := between(document, `<script type="module">`, "</script>"), between(document, "<style>", "</style>")
		if len(scripts) != 1 || len(styles) != 1 || strings.Count(document, "<script") != 1 || strings.Count(document, "<style") != 1 {
			t.Fatalf("got %d scripts and %d styles; want one of each", len(scripts), len(styles))
		}
		want := "default-src 'none'; style-src " + hash(styles[0]) + "; script-src " + hash(scripts[0]) +
			"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
		if policy != want {
			t.Errorf("got the policy %s; want %s", policy, want)
		}
	}
}

// TestPageHasNothingThatThePolicyForbids: browsers would leave it out without a word to the reader.
func TestPageHasNothingThatThePolicyForbids(t *testing.T) {
	document, _ := served(t, false)
	for what, pattern := range map[string]string{
		"a style of an element":               `<[^>]*\sstyle=`,
		"a handler of an element":             `<[^>]*\son[a-z]+=`,
		"something from elsewhere":            `(src|href)="(https?:)?//`,
		"an import":                           `@import|\bimport\s*\(|^import\s`,
		"text that is taken for HTML":         `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc`,
		"a store that would outlive the page": `localStorage|sessionStorage|indexedDB|document\.cookie`,
	} {
		if found := regexp.MustCompile(`(?m)` + pattern).FindString(document); found != "" {
			t.Errorf("the page has %s: %s", what, found)
		}
	}
}

func TestPageKnowsWhetherATokenIsAskedFor(t *testing.T) {
	for needsToken, want := range map[bool]string{false: `<body data-token="none">`, true: `<body data-token="needed">`} {
		if document, _ := served(t, needsToken); !strings.Contains(document, want) {
			t.Errorf("token needed %t: got no %s", needsToken, want)
		}
	}
}
