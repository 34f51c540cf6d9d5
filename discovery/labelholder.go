package discovery

import "time"

// choose tells the choice what is known, and answers what follows.
func (w *labelWatch) choose(v view) order {
	if w.leader == nil {
		return w.choice.look(v, time.Now())
	}
	e := evidence{hosts: w.resolver.known}
	if w.member != nil {
		e.memberKey, e.member = w.member.watch.question.key, w.member.see()
	}
	if w.catalog != nil {
		e.catalog = w.catalog.see()
	}
	before := w.leader.term
	o := w.leader.look(v, e, time.Now())
	if w.leader.term != before {
		w.elected = time.Now()
	}
	return o
}

// subscribeToHolder asks for what must be known of the leader: its member while
// it holds the key, the instances of the service until it is ready.
func (w *labelWatch) subscribeToHolder() {
	if w.leader == nil {
		return
	}
	if key := w.leader.memberKey(); w.member == nil && key != "" || w.member != nil && w.member.watch.question.key != key {
		w.source.unsubscribe(w.member)
		w.member = nil
		if key != "" {
			q := aboutKey(w.config.Datacenter, key)
			q.seldom = true
			w.member = w.source.subscribe(interest{question: q}, Config{}, w.changed)
		}
	}
	switch asks := w.leader.asksCatalog(); {
	case asks && w.catalog == nil:
		w.catalog = w.source.subscribe(interest{question: w.catalogQuestion(w.config.Datacenter)}, Config{}, w.changed)
	case !asks && w.catalog != nil:
		w.source.unsubscribe(w.catalog)
		w.catalog = nil
	}
}

// catalogQuestion is about the instances in dc among which a leader must be.
func (w *labelWatch) catalogQuestion(dc string) question {
	return aboutService(dc, w.config.Service, w.config.Tags)
}
