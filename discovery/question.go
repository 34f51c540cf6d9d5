package discovery

import (
	"slices"
	"strings"
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

// interestsOf answers what each label asks first: its leader key, or its
// service. Tagged labels that differ by nothing but their tag share a question,
// and find their instances in the answer; a lone one has Consul do that.
func interestsOf(c Config) []interest {
	out := make([]interest, len(c.Labels))
	shared := make(map[question]int)
	for i, l := range c.Labels {
		of := c.Of(l)
		if l.Leader != nil {
			out[i].question = aboutKey(of.Datacenter, l.Leader.Key)
			continue
		}
		out[i].question = aboutService(of.Datacenter, of.Service, of.Tags)
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
// those that follow the same key.
func (c Config) Questions() int {
	different := make(map[question]bool)
	for _, i := range interestsOf(c) {
		different[i.question] = true
	}
	return len(different)
}
