package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
)

// Work is the life of a load worker: it obeys the commands that come in, one
// a line, answers each with a line, and returns when there are no more.
func Work(in io.Reader, out io.Writer) error {
	debug.SetGCPercent(-1) // its life is short, and nothing is allocated on the way of a message
	l, err := newLoop()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- l.run() }()

	commands := make(chan command)
	go readCommands(in, commands)
	answers := json.NewEncoder(out)
	for {
		select {
		case err := <-failed:
			return err
		case c, ok := <-commands:
			if !ok {
				return nil
			}
			if err := answers.Encode(l.obey(c)); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		}
	}
}

func readCommands(in io.Reader, to chan<- command) {
	defer close(to)
	lines := json.NewDecoder(bufio.NewReader(in))
	for {
		var c command
		if lines.Decode(&c) != nil {
			return
		}
		to <- c
	}
}

// obey has the loop carry out c.
func (l *loop) obey(c command) reply {
	answer := make(chan reply, 1)
	l.post(func() {
		r, err := l.do(c)
		if err != nil {
			r.Error = err.Error()
		}
		answer <- r
	})
	return <-answer
}

func (l *loop) do(c command) (reply, error) {
	switch c.Op {
	case "listen", "open":
		return l.begin(c)
	}
	if c.Group < 0 || c.Group >= len(l.groups) {
		return reply{}, fmt.Errorf("no group %d", c.Group)
	}
	g := l.groups[c.Group]
	switch c.Op {
	case "mark":
		g.mark(c.Wanted)
	case "stats":
	default:
		return reply{}, fmt.Errorf("unknown command %q", c.Op)
	}
	return reply{Group: c.Group, Stats: g.stats(l.clock.Now())}, nil
}

func (l *loop) begin(c command) (reply, error) {
	if c.Spec == nil {
		return reply{}, errors.New("no spec")
	}
	at, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		return reply{}, err
	}
	if !at.Addr().Is4() || !at.Addr().IsLoopback() {
		return reply{}, fmt.Errorf("%s is no IPv4 address of this machine's loopback", at)
	}
	g, err := l.newGroup(*c.Spec)
	if err != nil {
		return reply{}, err
	}
	l.groups = append(l.groups, g)
	r := reply{Group: len(l.groups) - 1, Address: c.Address}
	if c.Op == "open" {
		g.to = sockaddr(at)
		l.open(g)
		return r, nil
	}
	fd, bound, err := listen(at, g.spec.Buffer)
	if err != nil {
		return r, err
	}
	r.Address = bound.String()
	listener := l.adopt(fd, g)
	listener.listening = true
	return r, l.poll.add(fd, readyIn, listener.generation)
}
