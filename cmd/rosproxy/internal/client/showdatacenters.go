package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/operator"
)

// showFor is how long a look may take that has no --timeout.
const showFor = 20 * time.Second

// The document of datacenter show --json.
type (
	datacentersDocument struct {
		Datacenters []datacenterDocument `json:"datacenters"`
	}

	datacenterDocument struct {
		Datacenter string           `json:"datacenter"`
		Reachable  bool             `json:"reachable"`
		Error      string           `json:"error,omitempty"`
		Entry      *entryDocument   `json:"entry"` // null: there is none, or it cannot be understood
		Garbled    string           `json:"entry_error,omitempty"`
		Masters    []masterDocument `json:"masters"`
		Reports    []reportDocument `json:"reports"`
	}

	entryDocument struct {
		Active  string   `json:"active"`
		Term    uint64   `json:"term"`
		By      string   `json:"by"`
		Without []string `json:"without"`
	}

	masterDocument struct {
		Label  string  `json:"label"`
		Master *string `json:"master"` // null: there is none
		Error  string  `json:"error,omitempty"`
	}

	reportDocument struct {
		Key      string                 `json:"key"`
		Instance string                 `json:"instance"`
		PID      int                    `json:"pid"`
		TTL      float64                `json:"ttl_s"`
		Labels   map[string]fence.State `json:"labels"`
		Error    string                 `json:"error,omitempty"`
	}
)

// showDatacenters shows what can be read of each data centre. Where one cannot be
// read, it shows that and is not done.
func showDatacenters(ctx context.Context, s *session) int {
	d := s.config.Datacenters
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.Timeout, showFor))
	defer cancel()
	views, err := operator.ShowDatacenters(ctx, d.Discovery)
	if err != nil {
		s.say("datacenter: %v", err)
		return exitUsage
	}
	document := datacentersDocument{Datacenters: []datacenterDocument{}}
	for _, v := range views {
		document.Datacenters = append(document.Datacenters, documentOf(v))
		s.failed = s.failed || v.Err != nil
	}
	if s.config.JSON {
		if err := s.out.document(document); err != nil {
			s.say("%v", err)
			return exitNotDone
		}
		return s.code()
	}
	for _, d := range document.Datacenters {
		printDatacenter(s.out, d)
	}
	return s.code()
}

func documentOf(v operator.DatacenterView) datacenterDocument {
	d := datacenterDocument{Datacenter: v.Name, Reachable: v.Err == nil, Garbled: v.Garbled, Masters: []masterDocument{}, Reports: []reportDocument{}}
	if v.Err != nil {
		d.Error = v.Err.Error()
	}
	if e := v.Entry; e.Term > 0 {
		d.Entry = &entryDocument{e.Active, e.Term, e.By, append([]string{}, e.Without...)}
	}
	for _, l := range v.Labels {
		m := masterDocument{Label: l.Label}
		switch {
		case l.Err != nil:
			m.Error = l.Err.Error()
		case len(l.Masters) > 0:
			address := l.Masters[0].Address.String()
			m.Master = &address
		default:
			m.Error = l.Why
		}
		d.Masters = append(d.Masters, m)
	}
	for _, r := range v.Reports {
		out := reportDocument{Key: r.Key, Instance: r.Entry.Instance, PID: r.Entry.PID, TTL: r.Entry.TTL, Labels: r.Entry.Labels}
		if r.Err != nil {
			out.Error = r.Err.Error()
		}
		d.Reports = append(d.Reports, out)
	}
	return d
}

// printDatacenter prints one data centre, indented what belongs to it.
func printDatacenter(p *printer, d datacenterDocument) {
	line := func(first int, texts ...text) { p.paragraph(first, 6, texts...) }
	switch {
	case !d.Reachable && d.Entry == nil:
		line(0, text{d.Datacenter + ":", bold}, text{"cannot be read: " + d.Error, bad})
		return
	case d.Garbled != "":
		line(0, text{d.Datacenter + ":", bold}, text{"the entry cannot be understood: " + d.Garbled, bad})
	case d.Entry == nil:
		line(0, text{d.Datacenter + ":", bold}, text{"no entry", doubt})
	default:
		line(0, text{d.Datacenter + ":", bold}, entryText(*d.Entry))
		line(2, text{"by " + d.Entry.By, plain})
	}
	if d.Error != "" {
		line(2, text{"cannot be read: " + d.Error, bad})
	}
	for _, m := range d.Masters {
		switch {
		case m.Master != nil:
			line(2, text{"label " + m.Label + ": master " + *m.Master, plain})
		case m.Error != "":
			line(2, text{"label " + m.Label + ": no master:", plain}, text{m.Error, doubt})
		default:
			line(2, text{"label " + m.Label + ": no master", doubt})
		}
	}
	for _, r := range d.Reports {
		if r.Error != "" {
			line(2, text{"report " + r.Key + ": cannot be understood: " + r.Error, bad})
			continue
		}
		for _, label := range slices.Sorted(maps.Keys(r.Labels)) {
			line(2, text{fmt.Sprintf("report of %s, pid %d: label %s: %s", r.Instance, r.PID, label, stateText(r.Labels[label])), plain})
		}
	}
}

func entryText(e entryDocument) text {
	out := text{fmt.Sprintf("%s is active (term %d", e.Active, e.Term), good}
	if e.Active == "" {
		out = text{fmt.Sprintf("nobody is active (term %d", e.Term), doubt}
	}
	for i, dc := range e.Without {
		separator := ", "
		if i == 0 {
			separator = ", without "
		}
		out.text += separator + dc
	}
	out.text += ")"
	return out
}

func stateText(s fence.State) string {
	out := fmt.Sprintf("term %d, ", s.Term)
	switch {
	case s.Master == "":
		out += "no master"
	case s.Elsewhere:
		out += "master " + s.Master + ", elsewhere"
	default:
		out += "master " + s.Master
	}
	return out
}
