package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/history"
	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

const (
	pause    = 40 * time.Millisecond  // after a request
	retry    = 100 * time.Millisecond // after one that failed
	patience = 90 * time.Second       // for an answer
	chunk    = 16 << 10               // of a pump
)

// client is one client. What Crowd reads is guarded by its mu.
type client struct {
	crowd           *Crowd
	number, asked   int
	kind            Kind
	label, instance string
	to              string

	conn     net.Conn
	answered time.Time // last; zero: not since the last Take
	gap      time.Duration
	term     uint64 // of the last answer
}

func (k *client) String() string {
	return fmt.Sprintf("%s client %d of %s through %s", k.kind, k.number, k.label, k.instance)
}

func (k *client) run() {
	for !k.stopped() {
		if !k.crowd.gate.enter(k, k.crowd.stop) {
			return
		}
		c := k.dial()
		if c == nil {
			k.crowd.gate.leave(k)
			k.sleep(retry)
			continue
		}
		k.use(c)
		c.Close()
	}
}

// stopped reports whether the crowd is to end.
func (k *client) stopped() bool {
	select {
	case <-k.crowd.stop:
		return true
	default:
		return false
	}
}

func (k *client) sleep(d time.Duration) {
	select {
	case <-k.crowd.stop:
	case <-time.After(d):
	}
}

// abandon ends what the client waits for; the crowd's mu is held.
func (k *client) abandon() {
	if k.conn != nil {
		k.conn.Close()
	}
}

func (k *client) dial() net.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	c, err := lan.DialHere(ctx, "tcp4", k.to)
	x := k.crowd
	x.mu.Lock()
	defer x.mu.Unlock()
	if errors.Is(err, syscall.ECONNRESET) { // it was made, and ended before we could see it
		x.ends = append(x.ends, End{Label: k.label, Instance: k.instance, Kind: k.kind, Opened: began, At: time.Now(), How: how(err)})
		return nil
	}
	if err != nil {
		x.refused = append(x.refused, Refusal{Label: k.label, Instance: k.instance, At: time.Now(), How: how(err)})
		return nil
	}
	k.conn = c
	return c
}

// use asks until the connection ends, or once. The gate has been entered.
func (k *client) use(c net.Conn) {
	opened, from, master := time.Now(), bufio.NewReader(c), ""
	for {
		answer, err := k.ask(c, from)
		k.crowd.gate.leave(k)
		if err == nil {
			master = answer.Master
		}
		if err == nil && k.kind == Pump {
			err = k.pump(c)
		}
		if err != nil {
			k.ended(End{Label: k.label, Instance: k.instance, Kind: k.kind, Opened: opened, At: time.Now(), How: how(err), Master: master})
			k.sleep(retry)
			return
		}
		k.sleep(pause)
		if k.kind == Short || k.stopped() || !k.crowd.gate.enter(k, k.crowd.stop) {
			return
		}
	}
}

func (k *client) ended(e End) {
	if k.stopped() {
		return // we may have ended it
	}
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	k.crowd.ends = append(k.crowd.ends, e)
}

// ask makes one request, and notes it.
func (k *client) ask(c net.Conn, from *bufio.Reader) (history.Answer, error) {
	k.asked++
	x := k.crowd
	o := history.Op{Client: k.number, Append: k.kind != Pump && k.asked%2 == 0, ID: fmt.Sprintf("%d.%d", k.number, k.asked), Call: time.Since(x.began)}
	verb := "R"
	if o.Append {
		verb = "A"
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(c, "%s %s\n", verb, o.ID)
	if err == nil {
		var line string
		if line, err = from.ReadString('\n'); err == nil {
			_, err = fmt.Sscanf(strings.TrimSuffix(line, "\n"), "%s %d %d %s", &o.Answer.Master, &o.Answer.Term, &o.Answer.Count, &o.Answer.Last)
		}
	}
	o.Return, o.Known = time.Since(x.began), err == nil
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ops[k.label] = append(x.ops[k.label], o)
	if err == nil {
		now := time.Now()
		if !k.answered.IsZero() && k.kind != Pump {
			k.gap = max(k.gap, now.Sub(k.answered))
		}
		k.answered, k.term = now, o.Answer.Term
	}
	return o.Answer, err
}

// pump sends until the connection ends.
func (k *client) pump(c net.Conn) error {
	_ = c.SetDeadline(time.Time{})
	bytes := fmt.Appendf(nil, "P %d\n%s", chunk, strings.Repeat("x", chunk))
	for {
		if _, err := c.Write(bytes); err != nil {
			return err
		}
		if k.stopped() {
			return nil
		}
	}
}

// how names the end of a connection.
func how(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "FIN"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "RST"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer in %v", patience)
	default:
		return err.Error()
	}
}
