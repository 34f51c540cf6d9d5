package discovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/rosproxy/rosproxy/discovery/fence"
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
	seats    map[string]*seat
	stale    []string // keys of earlier lives, to be taken away
	trouble  string   // why the last write failed; empty: it did not
	since    time.Time
	turn     int // whose turn it is among the agents
}

// seat is one label of an entry.
type seat struct {
	fence.Seat
	obeyed  uint64
	master  string
	changed chan struct{} // of the label
	verify  func()        // begins a consistent read of its question
}

func newReporter(c Reports, dc string, agents []*agent, log zerolog.Logger) *reporter {
	return &reporter{
		config: c, dc: dc, agents: agents,
		log:    log.With().Str("prefix", c.Prefix).Logger(),
		wake:   make(chan struct{}, 1),
		writes: rate.NewLimiter(20, 20),
		beat:   fence.Beat{TTL: c.TTL},
		random: newRandom(),
		seats:  make(map[string]*seat),
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
	ends     time.Duration
}

// look takes that the newest consistent read of label began at begun, and
// answers what label may do.
func (r *reporter) look(label string, begun time.Duration) standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := sinceBoot()
	s := r.seats[label]
	if s == nil {
		return standing{}
	}
	if r.beat.IsOver(now) {
		r.lapse()
	}
	if s.IsOver(now, r.beat) {
		return standing{joined: true, over: true}
	}
	s.Seat = s.Look(begun)
	return standing{joined: true, mayServe: s.Read > 0, ends: s.Lease(r.beat)}
}

// join has label written into the entry, with what it has obeyed so far.
func (r *reporter) join(label string, obeyed uint64, changed chan struct{}, verify func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beat.IsOver(sinceBoot()) {
		r.lapse()
	}
	r.revision++
	s := &seat{obeyed: obeyed, changed: changed, verify: verify}
	s.Seat = s.Join(r.beat.Life, r.revision)
	r.seats[label] = s
	signal(r.wake)
}

// leave takes label out of the entry: it has no connections, and will have none
// before it has joined again.
func (r *reporter) leave(label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seats[label] != nil {
		delete(r.seats, label)
		r.revision++
		signal(r.wake)
	}
}

// obey notes that label has obeyed all that Consul knew at index.
func (r *reporter) obey(label string, index uint64, master string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[label]
	if s == nil || s.obeyed == index && s.master == master {
		return
	}
	s.obeyed, s.master = index, master
	r.revision++
	signal(r.wake)
}

// status is what an operator should know of label's report; nil: it has none.
func (r *reporter) status(label string) *ReportStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &ReportStatus{Key: r.key(), Error: r.trouble}
	if s := r.seats[label]; s != nil {
		out.Obeyed, out.Lease = s.obeyed, s.Lease(r.beat)
	}
	return out
}

// lapse ends this life of the entry. mu is held.
func (r *reporter) lapse() {
	r.stale = append(r.stale, r.key())
	r.beat = r.beat.Lapse()
	r.random = newRandom()
	for _, s := range r.seats {
		signal(s.changed)
	}
	signal(r.wake)
}

// run keeps the entry until ctx ends, which leaves it where it is.
func (r *reporter) run(ctx context.Context) {
	var clearing sync.WaitGroup
	defer clearing.Wait()
	clearing.Go(func() { r.clearDead(ctx) })
	pace := backoff{first: 50 * time.Millisecond, most: r.config.TTL / 20}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, idle := r.next()
		if idle || wait > 0 {
			if idle {
				wait = time.Hour
			}
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				continue
			case <-timer.C:
				continue
			}
		}
		if r.writes.Wait(ctx) != nil {
			return
		}
		ok := r.write(ctx)
		if ctx.Err() != nil {
			return
		}
		r.removeStale(ctx)
		if ok {
			pace.reset()
		} else if !sleep(ctx, pace.next()) {
			return
		}
	}
}

// next answers how long to wait with the next write; idle: until there is
// something to say.
func (r *reporter) next() (wait time.Duration, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seats) == 0 && r.beat.Acked == r.revision {
		return 0, true
	}
	return r.beat.Due(r.revision) - sinceBoot(), false
}

// opTimeout bounds one request, so that several have their chance within a lease.
func (r *reporter) opTimeout() time.Duration { return min(r.config.TTL/10, DefaultVerifyTimeout) }

// write writes the entry once and reads it back, which tells its ModifyIndex. It
// reports whether the entry stands by that.
func (r *reporter) write(ctx context.Context) bool {
	w, key, value := r.begin()
	a := r.agents[r.turn%len(r.agents)]
	made, err := a.putKey(ctx, r.dc, key, value, w.CAS, r.opTimeout())
	if err == nil && !made {
		r.refused(w)
		r.report(errors.New("the entry has been deleted, or changed by another"))
		return false
	}
	r.mu.Lock()
	r.beat = r.beat.Unanswered(w)
	r.mu.Unlock()
	if err != nil {
		r.report(err)
		r.turn++
	}
	return r.readBack(ctx, key, err)
}

// begin begins a write of what is to be said now, to the key of this life: a label
// that finds the lease over may begin the next one at any time.
func (r *reporter) begin() (w fence.Write, key string, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := sinceBoot()
	if r.beat.IsOver(now) {
		r.lapse()
	}
	r.beat = r.beat.Begin(now, r.revision)
	e := fence.Entry{
		Instance: r.config.Instance, PID: os.Getpid(), Boot: bootID(), TTL: r.config.TTL.Seconds(),
		Beat: r.beat.Pending.Beat, Labels: make(map[string]fence.State, len(r.seats)),
	}
	for label, s := range r.seats {
		e.Labels[label] = fence.State{Obeyed: s.obeyed, Master: s.master}
	}
	return r.beat.Pending, r.key(), e.Encode()
}

func (r *reporter) refused(w fence.Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.Life == r.beat.Life && w == r.beat.Pending {
		r.lapse()
	}
}

// readBack learns what became of a write; failed is what it failed with.
func (r *reporter) readBack(ctx context.Context, key string, failed error) bool {
	for try := 0; ; try++ {
		a := r.agents[r.turn%len(r.agents)]
		pair, err := a.readKey(ctx, r.dc, key, r.opTimeout())
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return r.settle(pair, failed)
		}
		r.report(err)
		r.turn++
		if r.expired() || try > 2 && !sleep(ctx, 50*time.Millisecond) {
			return false
		}
	}
}

// expired reports whether it is too late for the write in doubt, and lapses if so.
func (r *reporter) expired() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := sinceBoot()
	if !r.beat.IsOver(now) && now < r.beat.Pending.Begun+fence.LeaseOf(r.config.TTL) {
		return false
	}
	r.lapse()
	return true
}

// settle takes what was read back.
func (r *reporter) settle(pair *api.KVPair, failed error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var index, beat uint64
	if pair != nil {
		index = pair.ModifyIndex
		if e, err := fence.Parse(pair.Value); err == nil {
			beat = e.Beat
		}
	}
	now, life, acked := sinceBoot(), r.beat.Life, r.beat.Acked
	old := r.key()
	r.beat = r.beat.ReadBack(now, index, beat)
	if r.beat.Life != life {
		r.stale, r.random = append(r.stale, old), newRandom()
		for _, s := range r.seats {
			signal(s.changed)
		}
		r.reportLocked(errors.New("the entry has been deleted, or changed by another, or its lease was over"))
		return false
	}
	if r.beat.Acked == acked && failed != nil {
		return false
	}
	for _, s := range r.seats {
		if before := s.Stood; before == 0 {
			if s.Seat = s.Stand(now, r.beat); s.Stood > 0 {
				s.verify()
			}
		}
		signal(s.changed)
	}
	r.wellLocked()
	return true
}

// clearDead takes away the entries of this instance whose process, on this host
// and since this boot, is gone, as soon as an agent answers.
func (r *reporter) clearDead(ctx context.Context) {
	for pace := (backoff{first: 50 * time.Millisecond, most: r.config.TTL / 20}); ctx.Err() == nil; sleep(ctx, pace.next()) {
		for _, a := range r.agents {
			found, err := a.listKeys(ctx, r.dc, r.config.Prefix+"/", r.opTimeout())
			if err != nil {
				continue
			}
			for _, p := range found.pairs {
				if r.isDead(p) {
					_, _ = a.deleteKey(ctx, r.dc, p.Key, p.ModifyIndex, r.opTimeout()) // else it is dead after its TTL
				}
			}
			return
		}
	}
}

// isDead reports whether p is the entry of a process of this instance that is gone.
func (r *reporter) isDead(p *api.KVPair) bool {
	e, err := fence.Parse(p.Value)
	if err != nil || e.Instance != r.config.Instance || e.Boot != bootID() || e.PID <= 0 || e.PID == os.Getpid() {
		return false
	}
	return errors.Is(unix.Kill(e.PID, 0), unix.ESRCH)
}

// removeStale takes away the entries of earlier lives. What they permitted has
// been cut.
func (r *reporter) removeStale(ctx context.Context) {
	r.mu.Lock()
	keys := r.stale
	r.stale = nil
	r.mu.Unlock()
	for _, key := range keys {
		r.remove(ctx, key)
	}
}

// remove takes one entry away, if it can; else it is dead after its TTL.
func (r *reporter) remove(ctx context.Context, key string) {
	a := r.agents[r.turn%len(r.agents)]
	if pair, err := a.readKey(ctx, r.dc, key, r.opTimeout()); err == nil && pair != nil {
		_, _ = a.deleteKey(ctx, r.dc, key, pair.ModifyIndex, r.opTimeout())
	}
}

// withdraw takes the entry away when the last connection has ended, by way of
// whichever agent is first to do it. It is called when run has returned.
func (r *reporter) withdraw(ctx context.Context) {
	r.mu.Lock()
	keys := append(r.stale, r.key())
	began := r.beat.Beats > 0
	r.mu.Unlock()
	if !began {
		return
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	var asking sync.WaitGroup
	for _, a := range r.agents {
		asking.Go(func() {
			for _, key := range keys {
				if !r.removeBy(ctx, a, key) {
					return
				}
			}
			done()
		})
	}
	asking.Wait()
}

// removeBy takes one entry away by way of a, however often that needs trying: a
// write may still be under way. It reports whether the entry is gone.
func (r *reporter) removeBy(ctx context.Context, a *agent, key string) bool {
	for ctx.Err() == nil {
		pair, err := a.readKey(ctx, r.dc, key, r.opTimeout())
		if err == nil && pair == nil {
			return true
		}
		if err == nil {
			if made, err := a.deleteKey(ctx, r.dc, key, pair.ModifyIndex, r.opTimeout()); err == nil && made {
				return true
			}
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return false
}

// report notes why the report cannot be written: one warning when that begins.
func (r *reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reportLocked(err)
}

func (r *reporter) reportLocked(err error) {
	if r.trouble == "" {
		r.since = time.Now()
		r.log.Warn().Err(err).Msg("fence report cannot be written")
	}
	r.trouble = err.Error()
}

func (r *reporter) wellLocked() {
	if r.trouble != "" {
		r.trouble = ""
		r.log.Info().Dur("lasted_ms", time.Since(r.since)).Msg("fence report is written again")
	}
}
