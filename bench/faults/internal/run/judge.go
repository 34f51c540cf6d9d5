package run

import (
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/history"
	"github.com/rosproxy/rosproxy/bench/faults/internal/tier"
	"github.com/rosproxy/rosproxy/bench/faults/internal/toy"
	"github.com/rosproxy/rosproxy/bench/faults/internal/traffic"
)

// judge looks at all that must hold after a round, while no request is under way.
func (r *round) judge() error {
	if hanging := r.crowd.Pause(2 * patience); len(hanging) > 0 {
		r.violated("clients hang: %v", hanging)
	}
	seen := r.crowd.Take()
	r.result.Gap = seen.Gap
	logs := map[string][]tier.Line{}
	for _, i := range r.instances {
		lines, err := i.Lines()
		if err != nil {
			return err
		}
		logs[i.Name] = lines
		for _, l := range lines {
			if l.Message == "failover" {
				r.result.Cut, r.result.Carried = r.result.Cut+l.Dropped, r.result.Carried+l.Carried
			}
		}
	}
	for _, e := range seen.Ends {
		if why := r.needless(e, logs[e.Instance]); why != "" {
			r.violated("cut that need not be: %v: %s", e, why)
		}
	}
	r.judgeDropped(logs)
	for _, f := range seen.Refused {
		if !r.plan.Kind.Refuses || f.Instance != r.instance().Name {
			r.violated("refused: %v", f)
		}
	}
	for _, check := range []func(map[string][]tier.Line) error{r.judgeWire, r.judgeSockets, r.judgeAccounts} {
		if err := check(logs); err != nil {
			return err
		}
	}
	r.judgeReports()
	for _, l := range r.labels {
		if err := r.judgeHistory(l, seen.Ops[l.Name]); err != nil {
			return err
		}
	}
	for _, i := range r.instances {
		for _, wrong := range i.Forget() {
			r.violated("%s: %s", i.Name, wrong)
		}
	}
	return nil
}

// judgeDropped looks whether the lines about failovers count the connections that
// they have ended, each of which has a line of its own.
func (r *round) judgeDropped(logs map[string][]tier.Line) {
	for _, i := range r.instances {
		for _, l := range r.labels {
			dropped, closed := 0, 0
			for _, line := range logs[i.Name] {
				switch {
				case line.Label != l.Name:
				case line.Message == "failover":
					dropped += line.Dropped
				case line.Message == "connection closed" && line.Reason == "failover":
					closed++
				}
			}
			if dropped != closed {
				r.violated("%s says that its failovers of %s have dropped %d connections; it has lines about %d", i.Name, l.Name, dropped, closed)
			}
		}
	}
}

// judgeReports looks whether there is one report for each process: one that was left by
// a process that is gone, or by a lapse, would delay the next promotion by its TTL.
func (r *round) judgeReports() {
	began := time.Now()
	var keys []string
	var err error
	if !r.await(func() bool {
		keys, err = r.consul.Keys(reports)
		return err == nil && len(keys) == len(r.instances)
	}) {
		r.violated("%v after all was well there are the reports %q, %v; want one for each instance", patience, keys, err)
	}
	r.result.Stale = time.Since(began)
}

// needless tells why a connection need not have been ended; empty: it had to be, or
// may have been.
func (r *round) needless(e traffic.End, log []tier.Line) string {
	l := r.label(e.Label)
	k := r.plan.Kind
	if k.Spares != nil && k.Spares(r, e) && e.At.After(r.injected) {
		return ""
	}
	if k.Outage && l.Key != "" && e.At.Sub(r.injected) > fenceAfter {
		return "" // Consul was out of reach for that long: --on-outage fence
	}
	if l.Key != "" && lapsed(log, e) {
		return ""
	}
	switch {
	case e.At.Before(r.elected[e.Label]):
		return "nobody had been elected yet"
	case k.SameMaster && (l.Key == "" || k.Name == "same master again"):
		return "nobody else was elected"
	case e.Master == r.new().Name && !k.SameMaster:
		return "it was to the new master"
	case e.Master != "" && e.Master != r.old().Name:
		return "it was to neither the old master nor the new one"
	case e.How != "RST" && k.Name != "master killed":
		return "it was not reset"
	case e.Master == "" && e.Opened.After(lastFailover(log, e.Label)):
		return "it was opened after the last failover, and waited for the new master"
	default:
		return ""
	}
}

// lapsed reports whether an instance says that Consul, which has elections of its own
// where there is too little CPU, did not answer it, and that it cut for that alone.
func lapsed(log []tier.Line, e traffic.End) bool {
	troubled := false
	for _, l := range log {
		switch l.Message {
		case "consul does not answer", "fence report cannot be written":
			troubled = true
		case "failover":
			without := l.To == "" && (l.Reason == "lease" || l.Reason == "consul unreachable")
			if troubled && without && l.Label == e.Label && e.At.Sub(l.Time).Abs() < time.Second {
				return true
			}
		}
	}
	return false
}

// lastFailover is when an instance's last failover of a label was over, in this round.
func lastFailover(log []tier.Line, label string) time.Time {
	var last time.Time
	for _, l := range log {
		if l.Message == "failover" && l.Label == label && l.Time.After(last) {
			last = l.Time
		}
	}
	return last.Add(time.Millisecond) // which is how exact it is
}

// lastFrom is the same of failovers from an address; false: there was none.
func lastFrom(log []tier.Line, label, from string) (time.Time, bool) {
	var some []tier.Line
	for _, l := range log {
		if l.From == from {
			some = append(some, l)
		}
	}
	last := lastFailover(some, label)
	return last, last.Year() > 1
}

func (r *round) label(name string) *label {
	for _, l := range r.labels {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// judgeWire looks for a byte, or a new connection, to an old master after the line
// that says that it was fenced.
func (r *round) judgeWire(logs map[string][]tier.Line) error {
	for _, i := range r.instances {
		w := r.witness[i.Name]
		lost, err := w.Lost()
		if err != nil {
			return err
		}
		if lost > 0 {
			r.violated("the witness of %s has lost %d packets, and proves nothing", i.Name, lost)
		}
		for _, l := range r.labels {
			old := l.address(r.old())
			fenced, ok := lastFrom(logs[i.Name], l.Name, old.String())
			if r.plan.Kind.SameMaster {
				continue
			}
			if l.reports {
				if sent := w.Sent(old, r.obeyed); len(sent) > 0 {
					r.violated("%s sent %d packets to the old master %s of %s after await-fence had returned at %s; the first: %v",
						i.Name, len(sent), r.old().Name, l.Name, r.obeyed.UTC().Format("15:04:05.000000"), sent[0])
				}
			}
			if !ok {
				if !r.plan.Kind.Dies || i != r.instance() {
					r.violated("%s has no line about a failover of %s from %v", i.Name, l.Name, old)
				}
				continue
			}
			if sent := w.Sent(old, fenced); len(sent) > 0 {
				r.violated("%s sent %d packets to the old master %s of %s after it was fenced at %s; the first: %v; the last: %v",
					i.Name, len(sent), r.old().Name, l.Name, fenced.UTC().Format("15:04:05.000"), sent[0], sent[len(sent)-1])
			}
		}
		r.result.Packets += w.Forget()
	}
	return nil
}

// judgeSockets looks for a socket to an old master, at both ends.
func (r *round) judgeSockets(map[string][]tier.Line) error {
	if r.plan.Kind.SameMaster {
		return nil
	}
	for _, l := range r.labels {
		for _, i := range r.instances {
			sockets, err := i.Host.Sockets(l.address(r.old()))
			if err != nil {
				return err
			}
			for _, s := range sockets {
				if s.CanCarry() {
					r.violated("%s has a socket to the old master of %s: %v", i.Name, l.Name, s)
				}
			}
		}
		if r.plan.Kind.Deaf {
			continue // the resets were lost
		}
		var state toy.State
		var err error
		if !r.await(func() bool { state, err = r.old().State(); return err == nil && state.Sockets[l.Name] == 0 }) {
			r.violated("the old master has %d connections of clients of %s, %v", state.Sockets[l.Name], l.Name, err)
		}
	}
	return nil
}

// judgeHistory looks whether the clients of a label could have been served by one
// store, and whether it has what it acknowledged.
func (r *round) judgeHistory(l *label, ops []history.Op) error {
	entries, err := toy.Entries(l.log)
	if err != nil {
		return err
	}
	ops = append(l.doubtful, ops...)
	for _, wrong := range history.Check(l.state, ops, entries, l.known) {
		r.violated("%s: %s", l.Name, wrong)
	}
	there := map[string]bool{}
	for _, id := range entries {
		there[id] = true
	}
	l.doubtful = nil
	for _, o := range ops {
		if o.Known {
			r.result.Requests++
		} else if o.Append && !there[o.ID] {
			l.doubtful = append(l.doubtful, o)
		}
	}
	l.known, l.state = len(entries), history.State{Term: l.term, Count: uint64(len(entries)), Last: "-"}
	if len(entries) > 0 {
		l.state.Last = entries[len(entries)-1]
	}
	return nil
}
