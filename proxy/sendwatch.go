package proxy

import (
	"cmp"
	"math"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// Bytes that have been handed to the kernel are owed to the peer until it has
// acknowledged them. When bytes of a connection move, a timer is to look at its
// send queues; while it finds that some wait, it has a sendWatch, and the timer
// comes again a few times in the shortest timeout. An idle connection costs
// neither memory nor time.

// A connection that is to end by RST when all is acknowledged is looked at after
// firstPoll, and then after twice the time of before: no event tells of it, as
// one does of the acknowledgement of FIN.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = time.Second
	mostPolls = 8 // that are counted: firstPoll doubled so often is more than lastPoll
)

// probesPerTimeout of a closed window go out in a user timeout: some may be lost.
const probesPerTimeout = 6

// noteBytes has the timer look at the bytes that have moved since began. Whether the
// last had moved long before tells since when these can have waited.
func (c *conn) noteBytes(l *loop, began, before int64) {
	switch {
	case c.label.settings.checkEvery == 0 || c.lastActive < began: // none has
	case c.watch == noWatch:
		c.watch, c.resumed = watchPending, stampOf(c.lastActive)
		c.armBy(l, l.now+int64(c.label.settings.checkEvery))
	case c.lastActive-before > int64(c.label.settings.checkEvery/16): // shorter pauses are no work
		c.resumed = stampOf(c.lastActive)
	}
}

// startWatch gives c a watch of its own.
func (c *conn) startWatch(l *loop) *sendWatch {
	c.watch = l.watches.take()
	w := &l.watches.all[c.watch]
	for which := range w.peers {
		w.peers[which].begin(c.resumed.asOf(l.now))
	}
	return w
}

func (c *conn) stopWatch(l *loop) {
	if c.watch != noWatch && c.watch != watchPending {
		l.watches.give(c.watch)
	}
	c.watch = noWatch
}

// checkQueues looks at what the peers have not acknowledged. What they have
// counts as life. It gives the watch back when nothing waits, and answers which
// peer is dead; noSide: neither.
func (c *conn) checkQueues(l *loop) (deadSide int) {
	var queued [2]int
	acked, waits := int64(0), false
	for which := range c.sides {
		f := &c.flows[1-which]
		if !c.sides[which].broken {
			queued[which] = sock.Unacknowledged(int(c.sides[which].fd))
			acked += int64(f.bytes) - int64(f.held()) - int64(queued[which])
		}
		waits = waits || f.holds() || queued[which] > 0
	}
	if !waits {
		if c.watch != watchPending && acked > l.watches.all[c.watch].acked {
			c.lastActive = l.now
		}
		c.stopWatch(l)
		return noSide
	}
	var w *sendWatch
	if c.watch == watchPending {
		w = c.startWatch(l)
	} else if w = &l.watches.all[c.watch]; acked > w.acked {
		c.lastActive = l.now
	}
	w.acked = acked
	every := cmp.Or(c.label.settings.checkEvery, lastPoll)
	w.next = l.now + int64(every)
	w.polls = min(w.polls+1, mostPolls)
	deadSide = noSide
	for which := range c.sides {
		if c.sides[which].broken {
			continue
		}
		s := sample{at: l.now, resumed: c.resumed.asOf(l.now), queued: queued[which]}
		if s.queued > 0 {
			c.askPeer(l, which, &s)
		}
		switch w.peers[which].judge(s, l.config.UserTimeout) {
		case peerDead:
			deadSide = which
		case peerOwed:
			w.next = min(w.next, w.peers[which].nextSample(s, l.config.UserTimeout, every))
		}
	}
	return deadSide
}

// askPeer completes s, and has a closed window probed often enough for a death
// to be found in time.
func (c *conn) askPeer(l *loop, which int, s *sample) {
	sd := &c.sides[which]
	peer, err := sock.PeerOf(int(sd.fd))
	if err != nil {
		return
	}
	s.lastACK, s.unanswered, s.backoff = peer.LastACK, peer.Unanswered, peer.Backoff
	switch {
	case peer.Window == sock.WindowClosed && !sd.probed && l.config.UserTimeout > 0:
		sd.probed = true
		sock.LimitProbeInterval(int(sd.fd), l.config.UserTimeout/probesPerTimeout)
	case peer.Window == sock.WindowShrunk && sd.probed:
		sd.probed = false
		sock.LimitProbeInterval(int(sd.fd), 0)
	}
}

// poll has the next look come soon; the later the more looks there have been.
func (c *conn) poll(l *loop) {
	var w *sendWatch
	if c.watch == noWatch || c.watch == watchPending {
		w = c.startWatch(l)
		w.next = math.MaxInt64
	} else {
		w = &l.watches.all[c.watch]
	}
	w.next = min(w.next, l.now+int64(min(firstPoll<<w.polls, lastPoll)))
}
