package proxy

import (
	"context"
	"time"
)

// How a drain's deadline ends what is left: not in one stroke, which would
// bring all clients back at the same moment, but spread over the time before
// it, and by FIN rather than by RST where that tells no lie.
//
// A connection is parted when nothing of it is on its way: both peers get
// FIN, and when both have ended too it is closed. From its FIN on nothing is
// read from it: what a peer still sends waits in the kernel until that is
// full, is delivered to nobody, and is answered by RST when the connection is
// closed. A connection that is never quiet, or whose peers do not end, is
// reset at the deadline.
const (
	// A farewell takes this part of the time that Shutdown has, and at most
	// longestFarewell. Where that is less than shortestFarewell there is none:
	// the peers could not answer in it.
	farewellPart     = 5
	longestFarewell  = 5 * time.Second
	shortestFarewell = 100 * time.Millisecond
	// The last farewellAnswer-th part of it is left to the peers that have
	// had their FIN last.
	farewellAnswer = 5
	// farewellSteps a farewell, none shorter than shortestStep.
	farewellSteps = 100
	shortestStep  = 5 * time.Millisecond

	// A connection is parted in a silence of this length: a pause between two
	// segments is no end of a message. Each try halves it, so that a
	// connection that always talks has its turn as well.
	silence = 50 * time.Millisecond
	// A stream has longer pauses, of a round trip of a far peer, and its end
	// by FIN would look like the end of what it carries: never less than this.
	streamSilence = 250 * time.Millisecond

	// partedSlack is how much later than the deadline a parted connection
	// ends by itself, when the drain that parted it was called off.
	partedSlack = 100 * time.Millisecond
)

// farewell is the time before a deadline in which connections are parted; in
// nanoseconds of the proxy's clock. The zero farewell is none.
type farewell struct {
	begins int64
	spread int64 // by then each connection has had its turn
	ends   int64 // the deadline
}

// newFarewell plans the farewell before ctx's deadline. There is none without
// a deadline, or when there is no time for it.
func (p *Proxy) newFarewell(ctx context.Context) farewell {
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	window := min(left/farewellPart, longestFarewell)
	if !ok || window < shortestFarewell {
		return farewell{}
	}
	ends := p.clock() + int64(left)
	return farewell{begins: ends - int64(window), spread: ends - int64(window/farewellAnswer), ends: ends}
}

func (f farewell) isNone() bool { return f.ends == 0 }

// step is the time between two steps of f.
func (f farewell) step() time.Duration {
	return max(time.Duration(f.ends-f.begins)/farewellSteps, shortestStep)
}

// progress is the part of the connections that is to be parted by now.
func (f farewell) progress(now int64) float64 {
	return min(float64(now-f.begins)/float64(f.spread-f.begins), 1)
}

// beginFarewell has the shards start to count.
func (p *Proxy) beginFarewell(f farewell) {
	p.log.Info().Int("active", p.Active()).Dur("window_ms", time.Duration(f.ends-f.begins)).
		Msg("drain deadline near: closing connections one by one")
	p.tell((*shard).beginParting)
}

// part has each shard part as many connections as are due.
func (p *Proxy) part(f farewell) {
	progress := f.progress(p.clock())
	p.tell(func(s *shard) { s.partSome(progress, f.ends) })
}

// dismiss ends the clients that have not reached a master, by FIN: they have
// been told nothing that could look whole. It returns when they are closed.
func (p *Proxy) dismiss() {
	dismissed := make(chan struct{}, len(p.shards))
	p.tell(func(s *shard) {
		var victims []ref
		s.conns.all(func(c *conn) {
			// What a client has sent is delivered to nobody: it is cut by RST.
			if !c.state.hasReachedMaster() && nothingToRead(int(c.sides[client].fd)) {
				victims = append(victims, c.ref())
			}
		})
		s.order(&cutJob{victims: victims, reason: DrainDeadline, parts: true, done: func() { dismissed <- struct{}{} }})
	})
	for range p.shards {
		<-dismissed
	}
}

func (s *shard) beginParting() {
	s.parted = 0
	s.conns.all(func(c *conn) { c.partings = 0 })
}

// partSome parts connections until progress of those that were here at the
// beginning, and are, have been.
func (s *shard) partSome(progress float64, until int64) {
	here := 0
	s.conns.all(func(c *conn) {
		if c.state == relaying {
			here++
		}
	})
	due := int(progress*float64(s.parted+here)) - s.parted
	if due <= 0 {
		return
	}
	s.conns.all(func(c *conn) {
		if due > 0 && c.state == relaying && s.part(c, until) {
			s.parted++
			due--
		}
	})
}

// part sends FIN to both peers of c if nothing of it is on its way, and tells
// whether it has. The rest is theirs, until the time given.
func (s *shard) part(c *conn, until int64) bool {
	if c.fenced() || !s.isQuiet(c) {
		return false
	}
	for d := range c.flows {
		if !c.flows[d].done && sendFIN(int(c.sides[1-d].fd)) != nil {
			return false // in error, which an event is about to say
		}
	}
	s.setState(c, parting)
	s.timers.arm(c, until+int64(partedSlack))
	return true
}

// isQuiet tells whether nothing of c is on its way, neither in our hands nor
// in the kernel's on its way to us, and has not been for a while.
func (s *shard) isQuiet(c *conn) bool {
	wait := silence >> c.partings
	for d := range c.flows {
		f := &c.flows[d]
		if f.rest != nil || f.pipe != nil {
			return false
		}
		if f.streaming {
			wait = streamSilence
		}
	}
	if s.now-c.lastActive < int64(wait) {
		c.partings = min(c.partings+1, 63)
		return false
	}
	for d := range c.flows {
		if !c.flows[d].eof && !nothingToRead(int(c.sides[d].fd)) {
			return false
		}
	}
	return true
}

// watchParting closes c when both peers have ended, or one has reset it.
func (s *shard) watchParting(c *conn) {
	ended := 0
	for which := range c.sides {
		if c.sides[which].broken {
			c.tally.parted++
			s.finish(c, DrainDeadline, byRST)
			return
		}
		if c.sides[which].fin || c.flows[which].eof {
			ended++
		}
	}
	if ended == len(c.sides) {
		c.tally.parted++
		s.finish(c, DrainDeadline, byFIN)
	}
}
