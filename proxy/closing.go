package proxy

import (
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// A connection is closed gracefully when nothing of it is on its way: both
// peers get FIN, and when both have ended too it is closed. From its FIN on
// nothing is read from it: what a peer still sends waits in the kernel until
// that is full, is delivered to nobody, and is answered by RST when the
// connection is closed. A connection that is never quiet, or whose peers do not
// end, is reset at the deadline.
const (
	// A connection is closed in a silence of this length: a pause between two
	// segments is no end of a message. Each try halves it, so that a
	// connection that always talks is closed as well.
	silence = 50 * time.Millisecond
	// A stream has longer pauses, of a round trip of a far peer, and its end
	// by FIN would look like the end of what it carries: never less than this.
	streamSilence = 250 * time.Millisecond
	// answerSilence is how long the master may be at work on the answer to bytes
	// that went to it last.
	answerSilence = 8 * time.Second

	// closingSlack is how much later than the deadline a closing connection
	// ends by itself, when the drain that closed it was called off.
	closingSlack = 100 * time.Millisecond
)

// closeForDrain is closeGracefully at the end of a drain: each try that finds c
// talking halves the silence that is enough for the next.
func (c *conn) closeForDrain(l *loop, until int64) bool {
	wait := silence >> c.talked
	if c.talks(l, wait) {
		c.talked = min(c.talked+1, 63)
		return false
	}
	return c.closeGracefully(l, wait, until, DrainDeadline)
}

// closeForPause is closeGracefully for a pause, in which a connection one of whose
// peers has ended is reset once it has been silent for as long as an answer may take.
func (c *conn) closeForPause(l *loop, wait time.Duration, until int64) {
	switch {
	case !c.isHalfClosed():
		c.closeGracefully(l, wait, until, Killed)
	case !c.fenced(l) && !c.talks(l, answerSilence) && c.isQuiet():
		c.finish(l, Killed, byRST)
	}
}

// closeGracefully sends FIN to both peers of c if nothing of it is on its way,
// nor has been for so long, and reports whether it has. The peers have until the
// time given to end. Not where an answer may be on its way, or one of them has
// ended: to the peer that waits for it, FIN would look like the end of the answer.
func (c *conn) closeGracefully(l *loop, wait time.Duration, until int64, why Reason) bool {
	if c.fenced(l) || c.isHalfClosed() || c.talks(l, wait) || c.awaitsAnswer(l) || !c.isQuiet() {
		return false
	}
	for d := range c.flows {
		if !c.sides[1-d].sentFIN && sock.SendFIN(int(c.sides[1-d].fd)) != nil {
			return false // in error, which an event is about to say
		}
	}
	c.state, c.orderedEnd = closing, why
	l.timers.arm(c.index, until+int64(closingSlack))
	return true
}

// talks reports whether bytes of c have moved in the last wait, or, of a stream,
// in the time that it may pause for.
func (c *conn) talks(l *loop, wait time.Duration) bool {
	for d := range c.flows {
		if c.flows[d].streaming || c.streamed[d] > 0 {
			wait = max(wait, streamSilence)
		}
	}
	return l.now-c.lastActive < int64(wait)
}

// awaitsAnswer reports whether the master may be at work on an answer.
func (c *conn) awaitsAnswer(l *loop) bool {
	return c.sentLast == client && l.now-c.lastActive < int64(answerSilence)
}

// isQuiet reports whether nothing of c is on its way, neither in our hands nor
// in the kernel's on its way to us or to a peer.
func (c *conn) isQuiet() bool {
	if c.brokeFirst != noSide {
		return false
	}
	for d := range c.flows {
		if c.flows[d].holds() {
			return false
		}
	}
	for d := range c.flows {
		if !c.flows[d].eof && !sock.NothingToRead(int(c.sides[d].fd)) {
			return false
		}
		if sock.Unsent(int(c.sides[d].fd)) > 0 {
			return false
		}
	}
	return true
}

// watchClosing ends c when both peers have ended, or one has reset it.
func (c *conn) watchClosing(l *loop) {
	ended := 0
	for which := range c.sides {
		if c.sides[which].broken {
			if other := &c.sides[1-which]; !other.broken && sock.Unacknowledged(int(other.fd)) > 0 {
				return // the acknowledgement of its FIN is an event
			}
			c.endInOrder(l, byRST)
			return
		}
		if c.sides[which].fin || c.flows[which].eof {
			ended++
		}
	}
	if ended == len(c.sides) {
		c.endInOrder(l, byFIN)
	}
}

// endInOrder ends c, whose peers have ended in time.
func (c *conn) endInOrder(l *loop, how ending) {
	if c.orderedEnd == DrainDeadline {
		c.counters(l).closedQuiet++
	}
	c.finish(l, c.orderedEnd, how)
}
