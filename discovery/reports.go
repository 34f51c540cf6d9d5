package discovery

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
)

// reporter keeps one entry for the labels that report below one prefix. Its
// goroutine alone writes; labels tell it what they have obeyed, and ask it
// whether they may have connections. Safe for concurrent use.
type reporter struct {
	config Reports
	dc     string
	agents []*agent
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

func newReporter(c Reports, dc string, agents []*agent, log zerolog.Logger) *reporter {
	return &reporter{
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

// bootID tells apart the starts of hosts, and the PID namespaces on them, of
// which process ids are.
func bootID() string {
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
func (r *reporter) key() string {
	return fence.Key(r.config.Prefix, r.config.Instance, os.Getpid(), r.random)
}

// standing is what a label may do by the report. mayServe: a consistent read that
// began after the report stood has been answered, so that whatever counts since may
// connect clients until ends: the index filter lets nothing older through.
type standing struct {
	joined   bool
	over     bool // what it had ended: it must cut, and leave
	mayServe bool
	stood    time.Duration // when the answer came that Consul has it as it is; 0: not yet
	ends     time.Duration
}

// look takes that the newest consistent read of label began at begun, and
// answers what label may do.
func (r *reporter) look(label string, begun time.Duration) standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := clock.SinceBoot()
	s := r.labels[label]
	if s == nil {
		return standing{}
	}
	if r.beat.IsOver(now) {
		r.lapse()
	}
	if s.IsOver(now, r.beat) {
		return standing{joined: true, over: true}
	}
	s.LabelLease = s.Look(begun)
	return standing{joined: true, mayServe: s.Read > 0, stood: s.Stood, ends: s.Lease(r.beat)}
}

// join has label written into the entry as what state says, anew if it is there
// already: it must stand again before it may have connections.
func (r *reporter) join(label string, state fence.State, changed chan struct{}, verify func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beat.IsOver(clock.SinceBoot()) {
		r.lapse()
	}
	r.revision++
	s := &reportedLabel{state: state, changed: changed, verify: verify}
	s.LabelLease = s.Join(r.beat.Life, r.revision)
	r.labels[label] = s
	signal(r.wake)
}

// leave takes label out of the entry: it has no connections, and will have none
// before it has joined again.
func (r *reporter) leave(label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.labels[label] != nil {
		delete(r.labels, label)
		r.revision++
		signal(r.wake)
	}
}

// obey notes that label has obeyed all that state says.
func (r *reporter) obey(label string, state fence.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.labels[label]
	if s == nil || s.state == state {
		return
	}
	s.state = state
	r.revision++
	signal(r.wake)
}

// status is what an operator should know of label's report; nil: it has none.
func (r *reporter) status(label string) *ReportStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &ReportStatus{Key: r.key(), TTL: r.config.TTL, Error: r.trouble}
	if s := r.labels[label]; s != nil {
		out.Obeyed, out.Lease = s.state.Obeyed, s.Lease(r.beat)
	}
	return out
}

// lapse ends this life of the entry. mu is held.
func (r *reporter) lapse() {
	r.stale = append(r.stale, r.key())
	r.beat = r.beat.Lapse()
	r.random = newRandom()
	for _, s := range r.labels {
		signal(s.changed)
	}
	signal(r.wake)
}
