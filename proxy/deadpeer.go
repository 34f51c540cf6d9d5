package proxy

import "time"

// Dead peer detection, while bytes wait for the peer. The kernel's own,
// TCP_USER_TIMEOUT, is not used: it counts the time in which a peer keeps its
// window closed as silence, though the peer answers every probe of it, and
// with keepalive it counts from the last byte received, so that one lost probe
// ends an idle connection. A peer without bytes on their way to it is
// keepalive's.

// sample is what the kernel says of a socket and its peer at one moment.
type sample struct {
	at         int64         // of the clock
	resumed    int64         // when bytes began to move after the last pause
	queued     int           // bytes, and FIN as one, that the peer has not acknowledged
	lastACK    time.Duration // how long ago the peer acknowledged anything, a probe included
	unanswered int           // retransmissions, or probes of a closed window, since then
	backoff    uint8         // grows with each of them, answered or not
}

// peerState is what samples say of a peer.
type peerState uint8

const (
	peerIdle peerState = iota // everything is acknowledged
	peerOwed                  // bytes wait; the peer is alive as far as anybody knows
	peerDead                  // bytes wait, and nobody answers
)

// detector tells a dead peer from one that does not read, from the first byte
// on until everything is acknowledged. The zero detector has not begun.
type detector struct {
	since   int64 // before this no byte can have waited; of the clock
	heard   int64 // when the peer acknowledged something last
	doubted int64 // since then several retransmissions have been unanswered; 0: they have not
	backoff uint8 // at the first sample after heard
	waits   bool  // the last sample has found bytes
}

// One retransmission or probe that is unanswered may just have been sent, or
// its answer been lost: only several are a reason to doubt, and only a doubt
// that has lasted longer than an answer takes.
const (
	severalUnanswered = 2
	answerTime        = time.Second
	// clockError is how far the same acknowledgement may seem apart in two samples.
	clockError = 50 * time.Millisecond
)

// begin has d begin: until now nothing waited.
func (d *detector) begin(now int64) { *d = detector{since: now} }

// judge says what s, the newest sample, tells of the peer. Dead is a peer that
// has acknowledged nothing for timeout while bytes waited and several
// retransmissions or probes stood unanswered; a timeout of 0 is never over.
func (d *detector) judge(s sample, timeout time.Duration) peerState {
	if s.queued == 0 {
		d.begin(s.at)
		return peerIdle
	}
	if !d.waits {
		d.waits, d.since = true, max(d.since, s.resumed)
	}
	if heard := s.at - int64(s.lastACK); heard > d.heard+int64(clockError) {
		d.heard, d.backoff, d.doubted = heard, s.backoff, 0
	}
	// Where the peer has taken back the window that it had given, retransmissions
	// are probes that the kernel does not count (tcp_retransmit_timer in
	// net/ipv4/tcp_timer.c). They are few, so one more has to be unanswered.
	switch several := s.unanswered >= severalUnanswered || int(s.backoff-d.backoff) > severalUnanswered; {
	case !several:
		d.doubted = 0
	case d.doubted == 0:
		d.doubted = s.at
	}
	silent := s.at - max(d.since, d.heard)
	if timeout > 0 && silent >= int64(timeout) && d.doubted != 0 && s.at-d.doubted >= int64(confirmAfter(timeout)) {
		return peerDead
	}
	return peerOwed
}

// nextSample is when to look again at a peer that s has found to be owed bytes:
// every so often, and just when its silence may have lasted for timeout.
func (d *detector) nextSample(s sample, timeout, every time.Duration) int64 {
	next := s.at + int64(every)
	if timeout == 0 {
		return next
	}
	over := max(d.since, d.heard) + int64(timeout)
	if d.doubted != 0 {
		over = max(over, d.doubted+int64(confirmAfter(timeout)))
	}
	if over > s.at {
		next = min(next, over)
	}
	return next
}

// confirmAfter is how long a doubt must have lasted.
func confirmAfter(timeout time.Duration) time.Duration { return min(answerTime, timeout/8) }
