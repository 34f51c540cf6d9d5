package logging

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// queueLength is how many lines wait for a reader of the log that does not keep
// up; beyond it the oldest are dropped, and counted.
const queueLength = 8192

// lastLines is how long the end of the process waits for the log to be read.
const lastLines = time.Second

// lineQueue is a writer that never blocks: a goroutine writes the lines on.
//
// zerolog's diode was tried. It loses a line that is written just before its
// Close, and can leave one lying until the next comes, which may be the line
// of a failover.
type lineQueue struct {
	to      io.Writer
	missing func(lines int64) // called, by the goroutine, before the first line after those that were dropped

	lines   chan []byte
	missed  atomic.Int64
	closing chan struct{}
	ended   chan struct{}
}

func newLineQueue(to io.Writer, missing func(lines int64)) *lineQueue {
	q := &lineQueue{
		to: to, missing: missing,
		lines: make(chan []byte, queueLength), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	go q.run()
	return q
}

// Write takes a whole line, and keeps a copy.
func (q *lineQueue) Write(line []byte) (int, error) {
	for kept := bytes.Clone(line); ; {
		select {
		case q.lines <- kept:
			return len(line), nil
		default:
		}
		select {
		case <-q.lines:
			q.missed.Add(1)
		default: // the goroutine was faster
		}
	}
}

func (q *lineQueue) run() {
	defer close(q.ended)
	for {
		select {
		case line := <-q.lines:
			q.pass(line)
		case <-q.closing:
			q.passRest()
			return
		}
	}
}

func (q *lineQueue) pass(line []byte) {
	if n := q.missed.Swap(0); n > 0 {
		q.missing(n)
	}
	_, _ = q.to.Write(line) // nobody is left to tell
}

func (q *lineQueue) passRest() {
	for {
		select {
		case line := <-q.lines:
			q.pass(line)
		default:
			return
		}
	}
}

// close writes what is left, and returns when it is written, or after
// lastLines if the reader is stuck. Nothing may be written any more.
func (q *lineQueue) close() {
	close(q.closing)
	select {
	case <-q.ended:
	case <-time.After(lastLines):
	}
}
