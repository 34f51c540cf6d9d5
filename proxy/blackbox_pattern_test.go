package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// patternBlock is random, and of no round length: a byte lost, doubled or
// out of order anywhere shows in what follows.
var patternBlock = func() []byte {
	b := make([]byte, 1<<20+7)
	rand.NewChaCha8([32]byte{'p', 'r', 'o', 'x', 'y'}).Read(b)
	return b
}()

// pattern is an endless stream of bytes; streams that begin elsewhere differ.
type pattern struct{ at int }

// next is at most n bytes of the stream, and moves on.
func (p *pattern) next(n int) []byte {
	from := p.at % len(patternBlock)
	b := patternBlock[from:min(from+n, len(patternBlock))]
	p.at += len(b)
	return b
}

// verify compares b with the stream, and moves on.
func (p *pattern) verify(b []byte) error {
	for len(b) > 0 {
		at := p.at
		want := p.next(len(b))
		if !bytes.Equal(b[:len(want)], want) {
			i := 0
			for b[i] == want[i] {
				i++
			}
			return fmt.Errorf("byte %d of the stream: got %#x; want %#x", at+i, b[i], want[i])
		}
		b = b[len(want):]
	}
	return nil
}

// sizes answers how many bytes to write or read next; it may take its time.
type sizes func() int

// atOnce is always n bytes.
func atOnce(n int) sizes { return func() int { return n } }

// upTo is 1 to n bytes.
func upTo(rng *rand.Rand, n int) sizes { return func() int { return 1 + rng.IntN(n) } }

// slowly is s with a pause now and then.
func slowly(rng *rand.Rand, s sizes) sizes {
	return func() int {
		if rng.IntN(4) == 0 {
			time.Sleep(time.Duration(rng.IntN(1500)) * time.Microsecond)
		}
		return s()
	}
}

// send writes n bytes of p.
func send(w io.Writer, p *pattern, n int, size sizes) error {
	for n > 0 {
		b := p.next(min(n, size()))
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("write with %d bytes to go: %w", n, err)
		}
		n -= len(b)
	}
	return nil
}

// receive reads n bytes and verifies that they are those of p.
func receive(r io.Reader, p *pattern, n int, size sizes) error {
	buf := make([]byte, 1<<18)
	for n > 0 {
		got, err := r.Read(buf[:min(n, size(), len(buf))])
		if bad := p.verify(buf[:got]); bad != nil {
			return bad
		}
		if n -= got; err != nil && n > 0 {
			return fmt.Errorf("read with %d bytes to go: %w", n, err)
		}
	}
	return nil
}

// receiveAll is receive, and then the end of the stream.
func receiveAll(r io.Reader, p *pattern, n int, size sizes) error {
	if err := receive(r, p, n, size); err != nil {
		return err
	}
	if got, err := r.Read(make([]byte, 1)); got != 0 || err != io.EOF {
		return fmt.Errorf("after the last byte: got %d bytes, %v; want end of file", got, err)
	}
	return nil
}

// exchange sends out, verifies in, both n bytes and both at once, and ends both by FIN.
func exchange(c *net.TCPConn, out, in *pattern, n int, write, read sizes) error {
	var g errgroup.Group
	g.Go(func() error {
		if err := send(c, out, n, write); err != nil {
			return err
		}
		return c.CloseWrite()
	})
	g.Go(func() error { return receiveAll(c, in, n, read) })
	return g.Wait()
}

// sendUntilBlocked writes p until nothing more goes, and answers how much went.
func sendUntilBlocked(c *net.TCPConn, p *pattern, size sizes) (int, error) {
	const tooMuch = 256 << 20 // more than all sockets' buffers on the way ever hold
	begin := p.at
	for p.at-begin < tooMuch {
		at := p.at
		b := p.next(size())
		c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.Write(b)
		p.at = at + n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return p.at - begin, c.SetWriteDeadline(time.Now().Add(2 * testTimeout))
		}
		if err != nil {
			return p.at - begin, fmt.Errorf("write until blocked: %w", err)
		}
	}
	return tooMuch, fmt.Errorf("sender of a stalled reader: got %d bytes accepted; want it to block before", tooMuch)
}
