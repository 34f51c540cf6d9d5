package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Entry is the value of one report.
type Entry struct {
	Instance string           `json:"instance"`
	PID      int              `json:"pid"`
	Boot     string           `json:"boot"` // of which start of which host, and in which PID namespace, PID is
	TTL      float64          `json:"ttl_s"`
	Beat     uint64           `json:"beat"` // one more with each write
	Labels   map[string]State `json:"labels"`
}

// State is what a report says of one label.
type State struct {
	// Obeyed is a raft index: of every election of the label that Consul knew at
	// it no connection to an earlier master is open through the process, and none
	// will be made.
	Obeyed uint64 `json:"obeyed"`
	Term   uint64 `json:"term"`   // of the entry that names the active data centre; 0: there are not several
	Master string `json:"master"` // HOST:PORT; empty: none
	// Elsewhere: the master served is in another data centre than the report, of
	// whose Consul Obeyed is an index, or there is none. No connection to a master
	// in the data centre of the report is open, and none will be made before the
	// report has stopped saying so and what is read after that names one.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// Bounds of a TTL and of an entry.
const (
	MinTTL   = 5 * time.Second
	MaxTTL   = time.Hour
	MaxEntry = 512 << 10 // Consul's own limit for a value
)

// Encode is e as it is kept. One that would be too long for Consul is kept without the
// masters, which are for people.
func (e Entry) Encode() []byte {
	b := e.marshal()
	if len(b) <= MaxEntry {
		return b
	}
	labels := make(map[string]State, len(e.Labels))
	for label, s := range e.Labels {
		s.Master = ""
		labels[label] = s
	}
	e.Labels = labels
	return e.marshal()
}

func (e Entry) marshal() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("encode a report: " + err.Error()) // no value of these types fails
	}
	return b
}

// Parse understands the value of an entry.
func Parse(value []byte) (Entry, error) {
	if len(value) > MaxEntry {
		return Entry{}, fmt.Errorf("longer than %d KiB", MaxEntry>>10)
	}
	var e Entry
	if err := json.Unmarshal(value, &e); err != nil {
		return Entry{}, errors.New("not the JSON of a report")
	}
	if ttl := e.Expires(); ttl < MinTTL || ttl > MaxTTL {
		return Entry{}, fmt.Errorf("its ttl_s is not from %v to %v", MinTTL.Seconds(), MaxTTL.Seconds())
	}
	return e, nil
}

// Expires is the entry's TTL.
func (e Entry) Expires() time.Duration {
	if !(e.TTL >= 0 && e.TTL <= 2*MaxTTL.Seconds()) { // NaN is neither
		return 0
	}
	return time.Duration(e.TTL * float64(time.Second))
}

// Key is where the report of a process is kept, below prefix. random is another
// one for each process, and after each lapse.
func Key(prefix, instance string, pid int, random string) string {
	return fmt.Sprintf("%s/%s-%d-%s", strings.TrimSuffix(prefix, "/"), instance, pid, random)
}
