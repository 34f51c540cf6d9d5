package reporter

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// Config says where a process reports what it has obeyed; see package fence.
type Config struct {
	Prefix   string        // of the KV store
	Instance string        // the process's name in it
	TTL      time.Duration // from fence.MinTTL to fence.MaxTTL
}

// Reporter keeps one entry for the labels that report below one prefix. Run's
// goroutine alone writes; labels tell it what they have obeyed, and ask it
// whether they may have connections. Safe for concurrent use.
type Reporter struct {
	config Config
	dc     string
	agents []*consul.Client
	log    zerolog.Logger
	wake   chan struct{} // holds one element while there is something new to write
	writes *rate.Limiter // a service that changes all the time would have it written all the time

	mu       sync.Mutex
	beat     fence.Beat
	random   string // of this life
	revision uint64 // of what the entry is to say
	labels   map[string]*reportedLabel
	stale    []string // keys of earlier lives, to be taken away
	trouble  string   // why the last write failed; empty: it did not
	since    time.Time
	turn     int // whose turn it is among the agents
}

// reportedLabel is one label of an entry.
type reportedLabel struct {
	fence.LabelLease
	state   fence.State
	changed chan struct{} // of the label
	verify  func()        // begins a consistent read of what it must obey
}

// New makes a reporter that writes in the data centre dc, empty: the agents' own, by
// way of whichever of the agents answers. Nothing is written before Run.
func New(c Config, dc string, agents []*consul.Client, log zerolog.Logger) *Reporter {
	return &Reporter{
		config: c, dc: dc, agents: agents,
		log:    log.With().Str("prefix", c.Prefix).Logger(),
		wake:   make(chan struct{}, 1),
		writes: rate.NewLimiter(20, 20),
		beat:   fence.Beat{TTL: c.TTL},
		random: newRandom(),
		labels: make(map[string]*reportedLabel),
	}
}

func newRandom() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, since Go 1.24
	return hex.EncodeToString(b[:])
}

// BootID tells apart the starts of hosts, and the PID namespaces on them, of
// which process ids are. It is a part of each entry.
func BootID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(boot)) + " " + ns
}

// key is where the entry of this life is. mu is held.
func (r *Reporter) key() string {
	return fence.Key(r.config.Prefix, r.config.Instance, os.Getpid(), r.random)
}

// Standing is what a label may do by the report. MayServe: a consistent read that
// began after the report stood has been answered, so that whatever counts since may
// connect clients until Ends: the index filter lets nothing older through. Times
// are since boot.
type Standing struct {
	Joined   bool
	Over     bool // what it had ended: it must cut, and leave
	MayServe bool
	Stood    time.Duration // when the answer came that Consul has it as it is; 0: not yet
	Ends     time.Duration
}

// Status is what a process has reported of a label; see package fence.
type Status struct {
	Key    string        // of the entry
	Obeyed uint64        // raft index
	TTL    time.Duration // of the entry: each write of it is good for four fifths
	Lease  time.Duration // when the right to have connections ends, since boot; 0: there is none
	Error  string        // why the report cannot be written; empty: it can
}

// LeaseLeft is how long the right to have connections lasts from now on.
func (s Status) LeaseLeft() time.Duration { return max(s.Lease-clock.SinceBoot(), 0) }

// Look takes that the newest consistent read of label began at begun, and
// answers what label may do.
func (r *Reporter) Look(label string, begun time.Duration) Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := clock.SinceBoot()
	s := r.labels[label]
	if s == nil {
		return Standing{}
	}
	if r.beat.IsOver(now) {
		r.lapse()
	}
	if s.IsOver(now, r.beat) {
		return Standing{Joined: true, Over: true}
	}
	s.LabelLease = s.Look(begun)
	return Standing{Joined: true, MayServe: s.Read > 0, Stood: s.Stood, Ends: s.Lease(r.beat)}
}

// Join has label written into the entry as what state says, anew if it is there
// already: it must stand again before it may have connections.
func (r *Reporter) Join(label string, state fence.State, changed chan struct{}, verify func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beat.IsOver(clock.SinceBoot()) {
		r.lapse()
	}
	r.revision++
	s := &reportedLabel{state: state, changed: changed, verify: verify}
	s.LabelLease = s.Join(r.beat.Life, r.revision)
	r.labels[label] = s
	waiting.Signal(r.wake)
}

// Leave takes label out of the entry: it has no connections, and will have none
// before it has joined again.
func (r *Reporter) Leave(label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.labels[label] != nil {
		delete(r.labels, label)
		r.revision++
		waiting.Signal(r.wake)
	}
}

// Obey notes that label has obeyed all that state says.
func (r *Reporter) Obey(label string, state fence.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.labels[label]
	if s == nil || s.state == state {
		return
	}
	s.state = state
	r.revision++
	waiting.Signal(r.wake)
}

// Status is what an operator should know of label's report; nil: it has none.
func (r *Reporter) Status(label string) *Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &Status{Key: r.key(), TTL: r.config.TTL, Error: r.trouble}
	if s := r.labels[label]; s != nil {
		out.Obeyed, out.Lease = s.state.Obeyed, s.Lease(r.beat)
	}
	return out
}

// lapse ends this life of the entry. mu is held.
func (r *Reporter) lapse() {
	r.stale = append(r.stale, r.key())
	r.beat = r.beat.Lapse()
	r.random = newRandom()
	for _, s := range r.labels {
		waiting.Signal(s.changed)
	}
	waiting.Signal(r.wake)
}
