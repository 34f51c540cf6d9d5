package handover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// frame is a message with a content, of which this package knows nothing.
type frame struct {
	number  uint32 // of a question, and of its answer
	content []byte
}

// maxFrame bounds the content, in bytes.
const maxFrame = 4 << 20

func isFrame(message byte) bool {
	return message == messageCarry || message == messageAsk || message == messageAnswer
}

// readFrame takes a frame whose first byte has been read.
func (c *conn) readFrame(message byte) error {
	var head [8]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	f := frame{number: binary.BigEndian.Uint32(head[4:])}
	size := binary.BigEndian.Uint32(head[:4])
	if size > maxFrame {
		return fmt.Errorf("a frame of %d bytes", size)
	}
	f.content = make([]byte, size)
	if _, err := io.ReadFull(c.Conn, f.content); err != nil {
		return err
	}
	switch message {
	case messageCarry:
		c.carried.Store(&f.content)
	case messageAnswer:
		select {
		case <-c.answers: // to a question that nobody waits for any more
		default:
		}
		c.answers <- f
	case messageAsk:
		if c.answer != nil {
			return c.sendFrame(messageAnswer, frame{f.number, c.answer(f.content)})
		}
	}
	return nil
}

// sendFrame sends f; ErrGone when the other process has ended.
func (c *conn) sendFrame(message byte, f frame) error {
	if len(f.content) > maxFrame {
		return fmt.Errorf("%d bytes are too many", len(f.content))
	}
	b := append(make([]byte, 0, 9+len(f.content)), message)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.content)))
	b = binary.BigEndian.AppendUint32(b, f.number)
	b = append(b, f.content...)
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return ErrGone
	}
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

// Carry tells the successor what it is to know before it serves; what was
// carried last counts. A program of before takes it for an error, and ends.
func (s *Successor) Carry(content []byte) error {
	s.hasCarried = true
	return s.conn.sendFrame(messageCarry, frame{content: content})
}

// HasCarried reports whether Carry was called. It is for the goroutine that calls it.
func (s *Successor) HasCarried() bool { return s.hasCarried }

// Carried is what the predecessor wanted this process to know; false: nothing.
// When Await has returned nil, it is complete.
func (p *Predecessor) Carried() (content []byte, ok bool) {
	if p == nil {
		return nil, false
	}
	c := p.conn.carried.Load()
	if c == nil {
		return nil, false
	}
	return *c, true
}

// Errors of Ask.
var (
	ErrNobody = errors.New("no generation of before is left")
	ErrTooOld = errors.New("the process before is of a program that takes no questions")
)

// Ask puts a question to the youngest generation of before that can be asked,
// which it answers with its Config.Answer. It returns ErrNobody when there is
// none, ErrGone when it ended before it has answered, and the cause of ctx's end.
func (p *Predecessor) Ask(ctx context.Context, question []byte) ([]byte, error) {
	p.asking.Lock()
	defer p.asking.Unlock()
	c, takesQuestions := p.hears()
	switch {
	case c == nil:
		return nil, ErrNobody
	case !takesQuestions:
		return nil, ErrTooOld
	}
	p.asked++
	if err := c.sendFrame(messageAsk, frame{p.asked, question}); err != nil {
		return nil, err
	}
	for {
		select {
		case f := <-c.answers:
			if f.number == p.asked {
				return f.content, nil
			}
		case <-c.ended:
			return nil, ErrGone
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
