package discovery

import (
	"slices"
	"strings"
)

// Questions is how many questions a source asks at each address: labels whose
// service, tags and data centre are the same share one, and so do those that
// follow the same key.
func (c Config) Questions() int {
	questions := map[string]bool{}
	for _, l := range c.Labels {
		of := c.Of(l)
		question := []string{of.Datacenter}
		if l.Leader != nil {
			question = append(question, "key", l.Leader.Key)
		} else {
			tags := slices.Clone(of.Tags)
			for i, t := range tags {
				tags[i] = strings.ToLower(t) // as Consul compares them
			}
			slices.Sort(tags)
			question = append(append(question, "service", of.Service), slices.Compact(tags)...)
		}
		questions[strings.Join(question, "\x00")] = true
	}
	return len(questions)
}
