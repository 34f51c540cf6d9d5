package discovery

import "testing"

// TestIndexOfAnAddressIsTheHighestThatItsQuestionsHave: each question has an index
// of its own, and the latest answer is that of whichever was asked last.
func TestIndexOfAnAddressIsTheHighestThatItsQuestionsHave(t *testing.T) {
	h := newHealth("", nopLog)
	for _, step := range []struct {
		what string
		do   func()
		want uint64
	}{
		{"one question is answered", func() { h.note(asked{1, true}, answer{index: 50}) }, 50},
		{"another, which has changed less lately", func() { h.note(asked{2, true}, answer{index: 40}) }, 50},
		{"a snapshot was restored", func() { h.note(asked{1, true}, answer{index: 30}) }, 40},
		{"a question is asked no more", func() { h.forget(2) }, 30},
	} {
		step.do()
		if got := h.snapshot().Index; got != step.want {
			t.Errorf("%s: got %d; want %d", step.what, got, step.want)
		}
	}
}
