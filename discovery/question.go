package discovery

import (
	"slices"
	"strings"
	"time"
)

// question is what Consul is asked again and again: who is registered for a
// service, or what a key holds. Labels that need the same answer share it, so
// that what is asked does not grow with the number of labels.
type question struct {
	datacenter string // empty: the agent's own
	service    string
	tags       string // sorted and joined by tagSeparator: all must match
	key        string // of the KV store; not empty: it is about no service
	// seldom: no long poll, since the entry is written anew every few seconds
	// and next to nothing of that is news.
	seldom bool
}

const tagSeparator = "\x00"

func aboutService(datacenter, service string, tags []string) question {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return question{datacenter: datacenter, service: service, tags: strings.Join(slices.Compact(tags), tagSeparator)}
}

func aboutKey(datacenter, key string) question { return question{datacenter: datacenter, key: key} }

// tagList are the tags that the instances must carry.
func (q question) tagList() []string {
	if q.tags == "" {
		return nil
	}
	return strings.Split(q.tags, tagSeparator)
}

// String names q for a log.
func (q question) String() string {
	if q.key != "" {
		return "key " + q.key
	}
	return "service " + q.service
}

// interest is what a label wants to know: the answers to a question, and which
// part of them.
type interest struct {
	question question
	label    string // in lower case: only instances with the tag label=LABEL; empty: all
}

// labelTag begins the tag that says to which label an instance belongs.
const labelTag = "label="

// in is what i wants to know of data centre dc.
func (i interest) in(dc string) interest {
	i.question.datacenter = dc
	return i
}

// interestsOf answers what each label asks first: its leader key, or its
// service. Tagged labels that differ by nothing but their tag share a question,
// and find their instances in the answer; a lone one has Consul do that. Where
// there are several data centres, which one is asked is not said yet.
func interestsOf(c Config) []interest {
	out := make([]interest, len(c.Labels))
	shared := make(map[question]int)
	for i, l := range c.Labels {
		of := c.Of(l)
		datacenters := strings.Join(of.possibleDatacenters(), tagSeparator)
		if l.Leader != nil {
			out[i].question = aboutKey(datacenters, l.Leader.Key)
			continue
		}
		out[i].question = aboutService(datacenters, of.Service, of.Tags)
		if l.Tagged {
			out[i].label = strings.ToLower(l.Name)
		}
		shared[out[i].question]++
	}
	for i, l := range c.Labels {
		if q := out[i].question; out[i].label != "" && shared[q] == 1 {
			out[i] = interest{question: aboutService(q.datacenter, q.service, c.TagsOf(l))}
		}
	}
	return out
}

// Questions is how many questions a source asks at each address all the time:
// labels whose service, tags and data centre are the same share one, and so do
// those that follow the same key. With several data centres the active one is asked,
// and each for its entry.
func (c Config) Questions() int {
	different := make(map[question]bool)
	for i, of := range interestsOf(c) {
		different[of.question] = true
		for _, dc := range c.Of(c.Labels[i]).Datacenters {
			different[aboutKey(dc, c.datacenterKey())] = true
		}
	}
	return len(different)
}

// Connections is how many connections to Consul a source has open at a time,
// at most, besides those that are being closed.
func (c Config) Connections() int {
	questions, polls := c.Questions(), c.Questions()
	for _, l := range c.Labels {
		if l.Leader == nil {
			continue
		}
		if l.Leader.Format == PatroniFormat {
			questions++ // the member's
		}
		if l.Leader.Ready == ReadyCatalog {
			questions, polls = questions+1, polls+1
		}
	}
	atOne := polls + questions + min(maxExtra, (maxReads-1)*questions) // the long polls, the reads beside them, and those that overtake others
	return atOne * max(len(c.Addresses), 1)
}

// needs are those of all who subscribe to a question.
type needs struct {
	verifyTimeout time.Duration // of the most pressing one
	fencing       time.Duration // how long an outage lasts until the last one that fences has done so; 0: none does
}

// of adds those of a subscriber with the configuration c.
func (n needs) of(c Config) needs {
	if n.verifyTimeout == 0 {
		n.verifyTimeout = c.VerifyTimeout
	}
	if c.OnOutage == Fence {
		n.fencing = max(n.fencing, c.FenceAfter)
		// A read that takes longer is of no use, and keeps another from its place.
		n.verifyTimeout = min(n.verifyTimeout, c.FenceAfter)
	}
	return n
}
