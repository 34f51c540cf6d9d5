package text

import (
	"strings"
	"testing"
)

func TestWhatCameFromOutsideIsShownEscapedAndBounded(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", `""`},
		{"a\nb\x1b[31m\"", `"a\nb\x1b[31m\""`},
		{strings.Repeat("a", 120), `"` + strings.Repeat("a", 120) + `"`},
		{strings.Repeat("a", 121), `"` + strings.Repeat("a", 120) + `"...`},
		{strings.Repeat("a", 119) + "é", `"` + strings.Repeat("a", 119) + `\xc3"...`},
	} {
		if got := Quoted(test.in); got != test.want {
			t.Errorf("%q: got %s; want %s", test.in, got, test.want)
		}
	}
}
