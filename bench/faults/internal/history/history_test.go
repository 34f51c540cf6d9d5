package history

import (
	"strings"
	"testing"
	"time"
)

// op is a request from and to a number of milliseconds.
func op(client int, id string, from, to time.Duration, term, count uint64, last string) Op {
	return Op{
		Client: client, Append: !strings.HasPrefix(id, "r"), ID: id, Call: from * time.Millisecond, Return: to * time.Millisecond,
		Known: true, Answer: Answer{Master: "m", State: State{Term: term, Count: count, Last: last}},
	}
}

// unanswered is one whose client was cut off.
func unanswered(client int, id string, from, to time.Duration) Op {
	o := op(client, id, from, to, 0, 0, "")
	o.Known, o.Answer = false, Answer{}
	return o
}

func TestHistoriesOfOneStore(t *testing.T) {
	began := State{Term: 1, Last: "-"}
	for _, c := range []struct {
		name    string
		ops     []Op
		entries []string
		known   int
		want    string // in what is wrong; empty: nothing is
	}{
		{name: "one after the other", ops: []Op{op(1, "a", 0, 1, 1, 1, "a"), op(2, "r1", 2, 3, 1, 1, "a"), op(1, "b", 4, 5, 2, 2, "b")}, entries: []string{"a", "b"}},
		{name: "not answered, and carried out", ops: []Op{unanswered(1, "a", 0, 1), op(2, "b", 2, 3, 2, 2, "b")}, entries: []string{"a", "b"}},
		{name: "not answered, and carried out late", ops: []Op{unanswered(1, "a", 0, 1), op(2, "b", 2, 3, 2, 1, "b"), op(2, "r1", 4, 5, 2, 2, "a")}, entries: []string{"b", "a"}},
		{name: "not answered, and not carried out", ops: []Op{unanswered(1, "a", 0, 1), op(2, "b", 2, 3, 2, 1, "b")}, entries: []string{"b"}},
		{name: "an old answer that comes late", ops: []Op{op(1, "r1", 0, 9, 1, 0, "-"), op(2, "a", 2, 3, 2, 1, "a")}, entries: []string{"a"}},
		{
			name: "a read of the old master after an answer of the new one", want: "not linearizable: read r1",
			ops: []Op{op(2, "a", 0, 1, 2, 1, "a"), op(1, "r1", 2, 3, 1, 0, "-")}, entries: []string{"a"},
		},
		{
			name: "the same where nothing was written between them", want: "not linearizable: read r2",
			ops: []Op{op(2, "r1", 0, 1, 2, 0, "-"), op(1, "r2", 2, 3, 1, 0, "-")},
		},
		{
			name: "an append that the old master acknowledged alone", want: "1 appends were acknowledged and are lost; the first: append b",
			ops: []Op{op(2, "a", 0, 1, 2, 1, "a"), op(1, "b", 0, 3, 1, 1, "b")}, entries: []string{"a"},
		},
		{name: "an append carried out twice", want: "entry a is in the store twice", ops: []Op{op(1, "a", 0, 1, 1, 1, "a")}, entries: []string{"a", "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(Check(began, c.ops, c.entries, c.known), "; ")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
}
