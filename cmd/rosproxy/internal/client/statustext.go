package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/drain"
)

// printStatus prints each instance, then each label with a line for every
// instance that has it.
func printStatus(p *printer, answers []answer[state], split []disagreement) {
	for _, a := range answers {
		printInstance(p, a)
	}
	labels := labelsOf(answers)
	if len(labels) == 0 {
		return
	}
	fmt.Fprintln(p.w)
	t := newLabelTable(len(answers) > 1)
	isSplit := map[string]bool{}
	for _, d := range split {
		isSplit[d.Label] = true
	}
	var notes [][]text
	for _, label := range labels {
		name, mark := text{label, bold}, text{}
		if isSplit[label] {
			mark = text{"!", bad}
		}
		for _, a := range answers {
			l := a.value.labels[label]
			if l == nil {
				continue
			}
			t.add(append([]text{mark, name, {a.from.name, plain}}, labelCells(a.value, l)...)...)
			name.text = "" // once, above its instances
			if says := labelNote(a.value, l); says != nil {
				about := text{label + ":", bold}
				if len(answers) > 1 {
					about.text = label + " at " + a.from.name + ":"
				}
				notes = append(notes, append([]text{about}, says...))
			}
		}
	}
	t.print(p)
	printNotes(p, notes, slices.Sorted(maps.Keys(isSplit)))
}

// printNotes prints what does not fit in a line of a label.
func printNotes(p *printer, notes [][]text, split []string) {
	if len(notes)+len(split) > 0 {
		fmt.Fprintln(p.w)
	}
	for _, n := range notes {
		p.paragraph(0, 4, n...)
	}
	if len(split) > 0 {
		p.paragraph(0, 4, text{"! the instances disagree on the master of:", bad}, text{strings.Join(split, ", "), plain})
	}
}

// printInstance says how an instance is, and how Consul is for it.
func printInstance(p *printer, a answer[state]) {
	const indent = 4
	if a.err != nil {
		p.paragraph(0, indent, text{a.from.name, bold}, text{"no answer", bad}) // a line of its own says why
		return
	}
	s := a.value.status
	how := []text{{string(s.State) + ",", good}}
	if d := a.value.drain; d != nil {
		how = []text{{string(d.State), doubt}, {drainText(a.value.at, d) + ",", plain}}
	}
	process := fmt.Sprintf("generation %d, pid %d, up %s, version %s", s.Generation, s.PID, ageText(seconds(s.Uptime)), s.Version)
	p.paragraph(0, indent, slices.Concat([]text{{a.from.name, bold}}, how, []text{{process, plain}})...)
	for _, c := range s.Consul {
		p.paragraph(2, indent, consulText(c)...)
	}
}

func consulText(c api.ConsulStatus) []text {
	contact := "never answered"
	if c.LastContact != nil {
		contact = fmt.Sprintf("answered %s ago, index %d", ageText(seconds(*c.LastContact)), c.Index)
	}
	if c.OK {
		return []text{{"consul " + c.Address, plain}, {"ok,", good}, {contact, plain}}
	}
	return []text{{"consul " + c.Address, plain}, {"failing,", bad}, {contact + ": " + c.Error, plain}}
}

// drainText says what a state alone does not.
func drainText(now time.Time, d *api.DrainState) string {
	if d.State == drain.Serving {
		return ""
	}
	says := []string{fmt.Sprintf("with %d live", d.Active)}
	if d.Started != nil {
		says = append(says, fmt.Sprintf("started %s ago", ageText(now.Sub(*d.Started))))
	}
	if d.Accepting {
		says = append(says, "still accepting")
	}
	if d.Deadline != nil && d.State == drain.Draining {
		says = append(says, fmt.Sprintf("deadline in %s", ageText(d.Deadline.Sub(now))))
	}
	return strings.Join(says, ", ")
}

// newLabelTable is the table of labels; several: instances have a column.
func newLabelTable(several bool) *table {
	columns := []column{
		{},
		{title: "LABEL", gives: 2, least: 8},
		{title: "INSTANCE", gives: 1, least: 14},
		{title: "SOURCE", gives: 5, least: 10},
		{title: "MASTER", gives: 4, least: 21},
		{title: "SINCE", right: true, gives: 3},
		{title: "EPOCH", right: true, gives: 5, least: 5},
		{title: "ACTIVE", right: true, gives: 5, least: 6},
		{title: "HELD", right: true, gives: 5, least: 4},
	}
	t := &table{columns: columns}
	if !several {
		t.leave(0, 2)
	}
	return t
}

// labelCells are those behind the names.
func labelCells(s state, l *api.LabelStatus) []text {
	master, since, epoch := text{"none", bad}, "-", "-"
	if m := l.Master; m != nil {
		master = text{m.Address, plain}
		since, epoch = ageText(s.at.Sub(m.Since)), strconv.FormatUint(m.Epoch, 10)
	}
	held := text{strconv.Itoa(l.Held), plain}
	if l.Held > 0 {
		held.style = doubt
	}
	return []text{{l.Source, plain}, master, {since, plain}, {epoch, plain}, {strconv.Itoa(l.Active), plain}, held}
}

// labelNote says what is out of the ordinary.
func labelNote(s state, l *api.LabelStatus) (note []text) {
	if l.Paused != nil {
		note = append(note, text{pauseText(s, l.Paused), doubt})
	}
	if r := l.FenceReport; r != nil && r.Lease <= 0 {
		note = append(note, text{"no lease", bad})
	}
	if r := l.FenceReport; r != nil && r.Error != "" {
		note = append(note, text{"fence report: " + r.Error, plain})
	}
	if l.LostSince != nil {
		note = append(note, text{fmt.Sprintf("lost %s ago", ageText(s.at.Sub(*l.LostSince))), bad})
	}
	if l.Reason != "" { // which names those whose checks fail
		note = append(note, text{l.Reason, plain})
	}
	if l.MastersSeen > 1 {
		note = append(note, text{fmt.Sprintf("%d claim to be master", l.MastersSeen), doubt})
	}
	for n := range note[:max(len(note)-1, 0)] {
		note[n].text += ","
	}
	return note
}

func pauseText(s state, p *api.PauseInfo) string {
	by := ""
	if p.By != "" {
		by = " by " + p.By
	}
	return fmt.Sprintf("paused%s for another %s", by, ageText(p.Until.Sub(s.at)))
}

// ageText is a duration for people, to the two units that matter.
func ageText(d time.Duration) string {
	s := int(max(d, 0).Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
}

// longest bounds the numbers of seconds of others.
const longest = 100 * 365 * 24 * time.Hour

func seconds(s float64) time.Duration {
	if !(s < longest.Seconds()) {
		return longest
	}
	return time.Duration(s * float64(time.Second))
}
