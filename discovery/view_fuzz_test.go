package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

// fleet is a service whose instances belong to labels, as FuzzLabels moves them, and
// the views that the labels have of the question they share.
type fleet struct {
	t      *testing.T
	in     []byte
	now    time.Time
	index  uint64
	set    []instance
	past   [][]instance
	asked  []uint64
	lied   bool // the index went back, or somebody made answers up
	shared indexFilter
	labels []*fleetLabel
}

// fleetLabel is a label in a fleet, and the same with a question of its own.
type fleetLabel struct {
	name         string
	view, mirror view
	alone        view
	filter       indexFilter // of its own question
	truths       []string    // whatever was so at any time
}

var mastersTag = []string{"role=master"}

func (w *fleet) next() int {
	if len(w.in) == 0 {
		return 0
	}
	b := w.in[0]
	w.in = w.in[1:]
	return int(b)
}

// workerAs is an instance as one byte describes it: which labels it belongs to, and
// whether its check passes.
func workerAs(id, what int, modify uint64) instance {
	var i instance
	body := fmt.Sprintf(`{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"ID":"sync-%d","Port":%d,"ModifyIndex":%d,"Tags":["Role=Master"`, id, 7800+id, modify)
	for n, tag := range []string{"label=a", "Label=B", "LABEL=c"} {
		if what>>n&1 == 1 {
			body += fmt.Sprintf(",%q", tag)
		}
	}
	body += "]}"
	if what>>3&3 == 3 {
		body += `,"Checks":[{"CheckID":"alive","Status":"critical"}]`
	}
	if what>>5&3 == 3 {
		body = strings.Replace(body, `"Port":7`, `"Port":-7`, 1)
	}
	if err := json.Unmarshal([]byte(body+"}"), &i); err != nil {
		panic(err)
	}
	return i
}

// change registers a worker anew, or takes it away.
func (w *fleet) change() {
	id, what := w.next()%5, w.next()
	w.index++
	set := slices.DeleteFunc(slices.Clone(w.set), func(i instance) bool { return i.Service.Port%100 == id || -i.Service.Port%100 == id })
	if what < 192 {
		set = append(set, workerAs(id, what, w.index))
	}
	w.set = set
	w.remember()
}

func (w *fleet) remember() {
	w.past = append(w.past, w.set)
	for _, l := range w.labels {
		truth := w.list(w.set, true, "").of(l.name)
		l.truths = append(l.truths, content(view{claims: truth}))
	}
}

// content is what a view says, but for those whose checks fail.
func content(v view) string {
	if v.claims == nil {
		return "unknown"
	}
	var all []string
	for _, c := range v.claims.candidates {
		all = append(all, fmt.Sprint(c.id, c.modify))
	}
	for _, r := range v.claims.rejects {
		all = append(all, r.String())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// list is an answer that names those of set; only those of label, if it is not empty.
func (w *fleet) list(set []instance, consistent bool, label string) *instances {
	in := &instances{all: &claims{}, byLabel: make(map[string]*claims)}
	tags := mastersTag
	if label != "" {
		tags = append(slices.Clone(tags), labelTag+label)
	}
	for i := range set {
		if consistent || failing(set[i].Checks) == nil {
			in.entries++
			in.add(&set[i], tags)
		}
	}
	return in
}

// kindOf is what understood makes of in.
func kindOf(a answer, in *instances) answer {
	a.instances = in
	switch {
	case len(in.all.candidates) > 0:
		a.kind = found
	case in.malformed > 0:
		a.kind = unknown
	case len(in.all.rejects) > 0:
		a.kind = found
	case a.filtered != nil:
		a.kind = denied
	default:
		a.kind = none
	}
	return a
}

// give hands one answer to all, the list of which is set.
func (w *fleet) give(a answer, set []instance) (verify bool) {
	shared := kindOf(a, w.list(set, a.consistent, ""))
	if a.filtered == nil && a.agent == 0 && w.next()%8 == 1 && len(set) > 0 {
		// An entry that says nothing, in the place of one.
		shared = kindOf(a, w.list(set[1:], a.consistent, ""))
		shared.instances.add(&instance{}, mastersTag)
		shared = kindOf(a, shared.instances)
		w.lied = true
	}
	counts := false
	if shared.kind == found || shared.kind == none {
		r := w.shared.judge(shared)
		counts, verify = r.counts, r.verify
	}
	for _, l := range w.labels {
		before := l.view
		if counts {
			next, doubt := l.view.after(shared, l.name)
			l.view, verify = next, verify || doubt
		}
		if now := content(l.view); now != content(before) && !slices.Contains(l.truths, now) && a.filtered == nil && !w.lied {
			w.t.Fatalf("label %s: got %q, which never was so: %q", l.name, now, l.truths)
		}
		if l.view.kind == none && before.kind != none && (!a.consistent || shared.filtered != nil || shared.instances.malformed > 0) {
			w.t.Fatalf("label %s has nobody by an answer that is no proof: %+v", l.name, a)
		}
		if l.view.begun < before.begun && l.view.begun != 0 {
			w.t.Fatalf("label %s: got a read of %v after one of %v", l.name, l.view.begun, before.begun)
		}
		w.mirror(l, shared, counts, set)
		alone := kindOf(a, w.list(set, a.consistent, l.name))
		if alone.kind != found && alone.kind != none {
			continue
		}
		r := l.filter.judge(alone)
		verify = verify || r.verify
		if r.counts {
			next, doubt := l.alone.after(alone, "")
			l.alone, verify = next, verify || doubt
		}
	}
	return verify
}

// mirror gives l the same list in another order.
func (w *fleet) mirror(l *fleetLabel, a answer, counts bool, set []instance) {
	if !counts || a.instances.malformed > 0 {
		l.mirror = l.view
		return
	}
	reversed := slices.Clone(set)
	slices.Reverse(reversed)
	a.instances = w.list(reversed, a.consistent, "")
	l.mirror, _ = l.mirror.after(a, l.name)
	if l.mirror.kind != l.view.kind || content(l.mirror) != content(l.view) {
		w.t.Fatalf("label %s: got %q, and %q by the same list in another order", l.name, content(l.view), content(l.mirror))
	}
}

// timed is an answer of an agent that took a while.
func (w *fleet) timed(consistent bool) answer {
	a := answer{agent: w.next() % len(w.asked), index: w.index, consistent: consistent}
	w.now = w.now.Add(time.Millisecond)
	a.began = w.now
	if consistent {
		a.begun = w.now.Sub(scriptBegins)
	} else {
		a.asked = w.asked[a.agent]
	}
	w.now = w.now.Add(time.Duration(w.next()) * time.Millisecond)
	a.arrived = w.now
	return a
}

// answer gives one answer, true or not, and the read that must follow.
func (w *fleet) answer() {
	what := w.next()
	a, set := w.timed(what%4 == 0), w.set
	switch {
	case what%16 == 1: // it lags
		i := w.next() % len(w.past)
		if set = w.past[i]; w.lied {
			break
		}
		a.index = w.index - uint64(len(w.past)-1-i)
	case what%16 == 2: // it is broken
		w.lied = true
		a.index, set = uint64(w.next()), w.past[w.next()%len(w.past)]
	case what%16 == 3 || what%16 == 4: // ACLs leave a label out
		a.filtered = errors.New("filtered")
		set = slices.DeleteFunc(slices.Clone(set), func(i instance) bool { return carries(i.Service.Tags, []string{"label=b"}) })
	}
	if !a.consistent {
		w.asked[a.agent] = nextIndex(a)
	}
	if w.give(a, set) {
		w.give(w.timed(true), w.set)
		if !w.lied {
			w.equal("after a read")
		}
	}
}

// equal checks that each label knows what it would with a question of its own.
func (w *fleet) equal(when string) {
	for _, l := range w.labels {
		if l.view.kind != l.alone.kind || content(l.view) != content(l.alone) {
			w.t.Fatalf("%s, label %s: got %q; with a question of its own it would know %q", when, l.name, content(l.view), content(l.alone))
		}
	}
}

// FuzzLabels lets the instances of a service come, go, fail and change their labels, and
// checks that labels that share the question are never told what was not so, that one has
// nobody only by a consistent read, and that each knows what it would if it asked alone.
func FuzzLabels(f *testing.F) {
	addRandom(f, 200, 300)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2048 {
			return
		}
		w := &fleet{t: t, in: in, now: scriptBegins, index: 100}
		w.asked = make([]uint64, 1+w.next()%2)
		c := Config{}.withDefaults()
		w.shared = newIndexFilter(len(w.asked), c.confirmedFor(), c.RegressAfter)
		for _, name := range []string{"a", "b", "c"} {
			w.labels = append(w.labels, &fleetLabel{name: name, filter: newIndexFilter(len(w.asked), c.confirmedFor(), c.RegressAfter)})
		}
		w.remember()
		for len(w.in) > 0 {
			switch w.next() % 8 {
			case 0, 1, 2:
				w.change()
			case 3:
				if w.next()%8 == 0 {
					w.index, w.lied = uint64(w.next()), true
				}
			default:
				w.answer()
			}
		}
		for range 50 {
			for i := range w.asked {
				w.now = w.now.Add(time.Second)
				w.give(answer{agent: i, index: w.index, consistent: true, began: w.now, arrived: w.now, begun: w.now.Sub(scriptBegins)}, w.set)
			}
		}
		w.equal("in the end")
		for _, l := range w.labels {
			if got, want := content(l.view), l.truths[len(l.truths)-1]; got != want {
				t.Fatalf("label %s: ended with %q; want %q", l.name, got, want)
			}
		}
	})
}
