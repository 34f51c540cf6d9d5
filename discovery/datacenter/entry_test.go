package datacenter

import (
	"strings"
	"testing"
)

func TestEntryIsReadAsItWasWritten(t *testing.T) {
	for _, e := range []Entry{
		{Active: "dc2", Term: 7, By: "ops@host", Without: []string{"dc1"}},
		{Term: 5, By: "x"},
		{Active: "dc1", Term: MaxTerm},
	} {
		got, err := Parse(e.Encode())
		if err != nil || !got.Equal(e) || got.By != e.By {
			t.Errorf("%s: got %+v, %v; want %+v", e.Encode(), got, err, e)
		}
	}
}

func TestEntryThatIsNoneIsRefusedWithTheReason(t *testing.T) {
	for value, want := range map[string]string{
		``:                          "not the JSON",
		`null`:                      `no "active"`,
		`"dc1"`:                     "not the JSON",
		`[]`:                        "not the JSON",
		`{"active":"dc1"}`:          `no "term"`,
		`{"term":1}`:                `no "active"`,
		`{"active":1,"term":1}`:     "not the JSON",
		`{"active":"a","term":0}`:   "term",
		`{"active":"a","term":-1}`:  "not the JSON",
		`{"active":"a","term":1.5}`: "not the JSON",
		`{"active":"a","term":18446744073709551615}`:                                "term",
		`{"active":"a b","term":1}`:                                                 "' '",
		`{"active":"a/b","term":1}`:                                                 "'/'",
		`{"active":"a","term":1,"without":["a"]}`:                                   "among those",
		`{"active":"a","term":1,"without":["A"]}`:                                   "among those",
		`{"active":"a","term":1,"without":[""]}`:                                    "empty",
		`{"active":"` + strings.Repeat("a", 65) + `","term":1}`:                     "longer",
		`{"active":"a","term":1,"by":"` + strings.Repeat("a", MaxEntry) + `"}`:      "longer",
		`{"active":"a","term":1,"without":["b"` + strings.Repeat(`,"b"`, 64) + `]}`: "more than 64",
	} {
		if e, err := Parse([]byte(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %+v, %v; want an error with %q", value, e, err, want)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"active":"dc2","term":7,"by":"ops","without":["dc1"]}`))
	f.Add([]byte(`{"active":"","term":9007199254740975,"by":"\u001b[31m","without":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := Parse(value)
		if err != nil {
			return
		}
		if e.Term == 0 || e.Term > MaxTerm || e.IsWithout(e.Active) || len(e.By) > maxBy || e.By != printable(e.By) {
			t.Errorf("%q: got %+v", value, e)
		}
		if again, err := Parse(e.Encode()); err != nil || !again.Equal(e) || again.By != e.By {
			t.Errorf("%+v: read again got %+v, %v", e, again, err)
		}
	})
}
