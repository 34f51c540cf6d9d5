package handover

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// The generations before the predecessor: one that serves again when those after
// it have died, and one whose clients are still counted.

// ancestor is a generation before the predecessor. The connection to it is
// shared with those between, so that it is read only when they do so no more.
type ancestor struct {
	net.Conn
	takesQuestions bool
	reading        *conn // of the same connection; nil: it is not read
}

// all are the connections to the generations of before.
func (p *Predecessor) all() []net.Conn {
	all := []net.Conn{p.conn.Conn}
	for _, a := range p.ancestors {
		all = append(all, a.Conn)
	}
	return all
}

// hears gives the connection to the youngest generation of before that still
// has one; nil: none has.
func (p *Predecessor) hears() (c *conn, takesQuestions bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return nil, false
	}
	if isAlive(p.conn.Conn) {
		return p.conn, p.takesQuestions
	}
	for _, a := range p.ancestors {
		if !isAlive(a.Conn) {
			continue
		}
		if a.reading == nil {
			a.reading = readConn(a.Conn, nil)
			go discard(a.reading.messages)
		}
		return a.reading, a.takesQuestions
	}
	return nil, false
}

// discard takes what nobody waits for.
func discard(messages <-chan byte) {
	for range messages {
	}
}

// earlier gives copies of the connections to the generations of before that
// still live, the youngest first, for a successor of this process, and whether
// each takes questions.
func (p *Predecessor) earlier() (files []*os.File, asks []bool, err error) {
	if p == nil {
		return nil, nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return nil, nil, nil
	}
	for i, c := range p.all() {
		if len(files) == maxAncestors || !isAlive(c) {
			continue
		}
		f, err := Duplicate(c.(syscall.Conn), "handover")
		if err != nil {
			closeAll(files)
			return nil, nil, fmt.Errorf("copy the connection to an earlier generation: %w", err)
		}
		files = append(files, f)
		asks = append(asks, i == 0 && p.takesQuestions || i > 0 && p.ancestors[i-1].takesQuestions)
	}
	return files, asks, nil
}
