package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// urgentMark is the urgent byte; ordinary bytes of these tests never are it.
const urgentMark = '!'

// sendUrgent sends one byte of TCP urgent data.
func sendUrgent(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Send(int(fd), []byte{urgentMark}, unix.MSG_OOB)
		return sent != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return sent
}

// sendWithUrgent sends text in pieces with an urgent byte between two. None
// comes after the last: a later one would push on what an earlier one has stuck.
func sendWithUrgent(c *net.TCPConn, text []byte, piece int) error {
	for begin := 0; begin < len(text); begin += piece {
		if _, err := c.Write(text[begin:min(begin+piece, len(text))]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if begin+piece >= len(text) {
			break
		}
		if err := sendUrgent(c); err != nil {
			return fmt.Errorf("write urgent data: %w", err)
		}
	}
	return c.CloseWrite()
}

// plainText is n random bytes without the urgent mark.
func plainText(n int) []byte {
	p := &pattern{}
	b := make([]byte, 0, n)
	for len(b) < n {
		b = append(b, p.next(n-len(b))...)
	}
	for i := range b {
		b[i] |= 0x80
	}
	return b
}

// wantOrdinary reads c to its end: all of text must come, and urgent bytes may,
// anywhere, as ordinary ones.
func wantOrdinary(c *net.TCPConn, text []byte) error {
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read, after %d bytes of %d: %w", len(got), len(text), err)
	}
	ordinary := bytes.ReplaceAll(got, []byte{urgentMark}, nil)
	if !bytes.Equal(ordinary, text) {
		return fmt.Errorf("ordinary bytes: got %d, equal up to %d; want %d", len(ordinary), commonPrefix(ordinary, text), len(text))
	}
	return nil
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// TestUrgentDataDelaysAndLosesNothingElse sends urgent data between messages
// and in the middle of a stream: a read stops short at it, and splice(2) gives nothing.
func TestUrgentDataDelaysAndLosesNothingElse(t *testing.T) {
	for _, load := range []struct {
		name        string
		size, piece int
	}{{"messages", 10_000, 50}, {"stream", 16 << 20, 1<<20 + 13}, {"once in a stream", 16 << 20, 10 << 20}} {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s up=%v", load.name, up), func(t *testing.T) {
				noLeaks(t)
				r := newProxy(t, config())
				m := newMaster(t, nil)
				r.set(m.addr)
				from, to := r.pair(m)
				if !up {
					from, to = to, from
				}
				text := plainText(load.size)
				var g errgroup.Group
				g.Go(func() error { return sendWithUrgent(from, text, load.piece) })
				g.Go(func() error { return wantOrdinary(to, text) })
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestUrgentDataThatWaitedInTheSocketStallsNothing has all of it in the
// socket's queue before the first read, so that no later arrival wakes the proxy.
func TestUrgentDataThatWaitedInTheSocketStallsNothing(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	client := r.dial()
	text := plainText(3000)
	for i := range 3 {
		if _, err := client.Write(text[i*1000 : i*1000+1000]); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			break // ordinary bytes are last: they must come without urgent data behind them
		}
		if err := sendUrgent(client); err != nil {
			t.Fatal(err)
		}
	}
	r.waitHeld(1)
	m := newMaster(t, nil)
	r.set(m.addr)
	server := m.next()
	got := make([]byte, 0, len(text))
	for buf := make([]byte, 4096); len(got) < len(text); {
		n, err := server.Read(buf)
		got = append(got, bytes.ReplaceAll(buf[:n], []byte{urgentMark}, nil)...)
		if err != nil {
			t.Fatalf("read: got %d bytes, then %v; want %d", len(got), err, len(text))
		}
	}
	if !bytes.Equal(got, text) {
		t.Errorf("ordinary bytes: equal up to %d; want %d", commonPrefix(got, text), len(text))
	}
}
