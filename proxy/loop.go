package proxy

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// shared is what the loops of a proxy have together. Any goroutine may use it.
type shared struct {
	config      Config
	log         zerolog.Logger
	clock       *clock
	slots       slots
	waitingRoom waitingRoom
	pipes       pipeBudget

	headerTimeout time.Duration // the constant, but for tests

	firstEphemeral, lastEphemeral uint16

	localCongestion string

	lastShortage   atomic.Int64 // when it was warned of last
	lastStandstill atomic.Int64 // when it was warned of last
	refusals       refusals
	inDoubt        atomic.Int64 // shards that stood still and have labels in doubt
}

func (g *shared) isEphemeral(port uint16) bool {
	return g.firstEphemeral <= port && port <= g.lastEphemeral
}

// options are those of every socket.
func (g *shared) options() sock.Options {
	return sock.Options{
		KeepAlive: g.config.KeepAlive, UserTimeout: g.config.UserTimeout, Buffer: g.config.SocketBuffer,
		Congestion: g.config.Congestion, LocalCongestion: g.localCongestion,
	}
}

// shortageWarnings are at least this far apart: a full proxy pauses and
// resumes with every client that leaves.
const shortageWarnings = time.Minute

func (g *shared) warnShortage(of, what string) {
	now := g.clock.now()
	last := g.lastShortage.Load()
	if last != 0 && now-last < int64(shortageWarnings) || !g.lastShortage.CompareAndSwap(last, now) {
		return
	}
	g.log.Warn().Str("reason", of).Int64("active", g.slots.used.Load()).Msg(what)
}

// loop is what one event loop offers to its connections, and what they need of
// the loops together. Its shard's goroutine alone uses it.
type loop struct {
	*shared
	number    int // of its shard
	poll      sock.Poller
	now       int64 // of the clock, as of the last look
	moved     bool  // a transfer has begun since
	look      func()
	scratch   []byte
	timers    timers
	ready     readyQueue
	pipes     pipeCache
	leftovers leftovers
	watches   watches
	counters  []counters // by label
	doubts    doubts
	releases  []releaseQueue // by label
	releasing []*label       // those with clients in their queue, in rotation
	releaseAt int64          // when the next client of them is released
	free      []uint32       // slots of connections that have ended
	shortage  error          // what the machine was out of, until the shard has taken note
	random    *rand.Rand

	load atomic.Int64 // connections here or on their way, for the balance
}

func newLoop(g *shared, number, labels int) (*loop, error) {
	l := &loop{
		shared: g, number: number, releases: make([]releaseQueue, labels), now: g.clock.now(), scratch: make([]byte, scratchSize), pipes: newPipeCache(&g.pipes, g.config.Shards), leftovers: newLeftovers(g.config.Shards),
		counters: make([]counters, labels), doubts: doubts{about: make([]bool, labels)},
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	for i := range l.counters {
		l.counters[i].dial = newHistogram(dialBounds)
	}
	var err error
	l.poll, err = sock.NewPoller()
	return l, err
}

// beforeTransfer looks at the clock between a transfer and the next one: the process
// may have been stopped in the first. Behind the look between two events none is needed.
func (l *loop) beforeTransfer() {
	if l.moved {
		l.look()
	}
	l.moved = true
}

// close gives the loop's own descriptors back.
func (l *loop) close() {
	l.pipes.close()
	l.leftovers.close()
	l.poll.Close()
}
