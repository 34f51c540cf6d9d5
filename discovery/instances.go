package discovery

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	json "github.com/go-json-experiment/json"
)

// claims are the instances of a service that claim to be master of one label,
// or of any. They are never changed.
type claims struct {
	candidates []candidate // who claim to be master, and might be reached
	rejects    []reject    // who claim to be, and cannot be
	failing    []Failing   // who would claim to be, if their checks passed
}

// nobody is what is claimed of a label that the answer does not mention.
var nobody = &claims{}

// claimEqually reports whether the same claim to be master in c and in d, in any
// order: with "passing" the order of an answer is arbitrary.
func (c *claims) claimEqually(d *claims) bool {
	return same(c.candidates, d.candidates) && sameSet(c.rejects, d.rejects, reject.String)
}

// failEqually reports whether the same would claim to be master, if their checks passed.
func (c *claims) failEqually(d *claims) bool { return sameSet(c.failing, d.failing, Failing.String) }

func sameSet[T comparable](a, b []T, key func(T) string) bool {
	if len(a) != len(b) {
		return false
	}
	in := func(s []T) []T {
		s = slices.Clone(s)
		slices.SortFunc(s, func(x, y T) int { return cmp.Compare(key(x), key(y)) })
		return s
	}
	return len(a) == 0 || slices.Equal(in(a), in(b))
}

// instances is an answer about a service.
type instances struct {
	all       *claims
	byLabel   map[string]*claims // by the rest of the tag label=, in lower case
	entries   int
	malformed int // entries that say nothing
}

// of are the claims of label; of all for an empty one.
func (in *instances) of(label string) *claims {
	if label == "" {
		return in.all
	}
	if c, ok := in.byLabel[label]; ok {
		return c
	}
	return nobody
}

// instance is what is needed of one element of /v1/health/service. Consul's own
// client decodes ten times as much, and one odd duration in a check's definition
// spoils the whole answer.
type instance struct {
	Node *struct {
		Node    string
		Address string
	}
	Service *struct {
		ID          string
		Address     string
		Port        int
		Tags        []string
		ModifyIndex uint64
	}
	Checks []check
}

type check struct {
	CheckID string
	Name    string
	Status  string
}

// parseInstances understands the body of an answer of /v1/health/service: it
// never panics, whatever was sent. tags are those that a master must carry.
func parseInstances(body []byte, tags []string) (*instances, error) {
	if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		return nil, errors.New("understand the answer: it is null, not a list")
	}
	var list []instance
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("understand the answer: %w", err)
	}
	in := &instances{all: &claims{}, byLabel: make(map[string]*claims), entries: len(list)}
	for i := range list {
		in.add(&list[i], tags)
	}
	return in, nil
}

func (in *instances) add(e *instance, tags []string) {
	if e.Node == nil || e.Service == nil {
		in.malformed++
		in.all.rejects = append(in.all.rejects, reject{"an entry", "it has no Node or no Service"})
		return
	}
	if !carries(e.Service.Tags, tags) {
		return
	}
	in.all.add(e)
	var seen []string
	for _, tag := range e.Service.Tags {
		if len(tag) <= len(labelTag) || !strings.EqualFold(tag[:len(labelTag)], labelTag) {
			continue
		}
		label := strings.ToLower(tag[len(labelTag):])
		if slices.Contains(seen, label) {
			continue
		}
		seen = append(seen, label)
		c := in.byLabel[label]
		if c == nil {
			c = &claims{}
			in.byLabel[label] = c
		}
		c.add(e)
	}
}

func (c *claims) add(e *instance) {
	if failed := failing(e.Checks); failed != nil {
		c.failing = append(c.failing, Failing{
			ServiceID: short(e.Service.ID), Node: short(e.Node.Node), Check: short(cmp.Or(failed.Name, failed.CheckID)), Status: failed.Status,
		})
		return
	}
	one, err := claim(e)
	if err != nil {
		c.rejects = append(c.rejects, one.reject(err))
		return
	}
	c.candidates = append(c.candidates, one)
}

// memo remembers the last body that was parsed: of a thousand masters it takes
// 5 ms, again and again for the same bytes while nothing changes. Bodies are
// told apart by a hash with a seed of this process's own. Safe for concurrent use.
type memo struct {
	mu     sync.Mutex
	sum    uint64
	length int
	parsed *instances // nil: none yet
}

// size is how long the last body was; 0: there was none.
func (m *memo) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.length
}

var memoSeed = maphash.MakeSeed()

func (m *memo) parse(body []byte, tags []string) (*instances, error) {
	sum := maphash.Bytes(memoSeed, body)
	m.mu.Lock()
	known := m.parsed
	fits := known != nil && m.sum == sum && m.length == len(body)
	m.mu.Unlock()
	if fits {
		return known, nil
	}
	in, err := parseInstances(body, tags)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.sum, m.length, m.parsed = sum, len(body), in
	m.mu.Unlock()
	return in, nil
}
