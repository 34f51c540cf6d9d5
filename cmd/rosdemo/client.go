package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

const (
	thinkTime   = 15 * time.Millisecond // between two records of a client, on average
	redialPause = 20 * time.Millisecond
	// replyTimeout is longer than rosproxy holds a client (10s) and a master
	// waits for a slave (5s): who gives up earlier only makes things worse.
	replyTimeout = 20 * time.Second
	// A client ends its connection by itself after a while, as apps do. That is
	// what a graceful drain waits for.
	shortestVisit, longestVisit = 2 * time.Second, 4 * time.Second
)

// client writes records 1, 2, 3, ... through the balancer, one at a time, each
// until it is acknowledged. It never knows who is master.
type client struct {
	name     string
	balancer *balancer
	ledger   *ledger
	next     uint64
}

// run writes until ctx ends; a record under way is finished, or given up when hard ends.
func (c *client) run(ctx, hard context.Context) {
	c.next = 1
	for ctx.Err() == nil && hard.Err() == nil {
		proxy := c.balancer.pick()
		if proxy == nil {
			sleep(ctx, redialPause)
			continue
		}
		err := c.visit(ctx, hard, proxy.listen)
		c.ledger.connected(c.name, false)
		if err != nil && hard.Err() == nil {
			sleep(ctx, redialPause)
		}
	}
}

// visit writes over one connection. It returns nil when the client ended it.
func (c *client) visit(ctx, hard context.Context, addr string) error {
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(hard, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(hard, func() { conn.Close() })()
	c.ledger.connected(c.name, true)
	in := bufio.NewReader(conn)
	until := time.Now().Add(shortestVisit + rand.N(longestVisit-shortestVisit))
	for ctx.Err() == nil && time.Now().Before(until) {
		if err := c.put(conn, in); err != nil {
			var answer refusal
			switch {
			case errors.As(err, &answer):
				c.ledger.refuse(answer.worker())
			case hard.Err() == nil:
				c.ledger.broke()
			}
			return err
		}
		sleep(ctx, thinkTime/2+rand.N(thinkTime))
	}
	return nil
}

// refusal is an answer that is no OK.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

// worker is the one that refused: "ERR worker 2 is not master".
func (r refusal) worker() string {
	if w := strings.Fields(string(r)); len(w) > 2 && w[0] == "ERR" && w[1] == "worker" {
		return strings.TrimSuffix(w[2], ":")
	}
	return ""
}

// put writes the next record and waits for its acknowledgement.
func (c *client) put(conn net.Conn, in *bufio.Reader) error {
	c.ledger.asked(c.name)
	if err := conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "PUT %s %d\n", c.name, c.next); err != nil {
		return err
	}
	line, err := in.ReadString('\n')
	now := time.Now()
	if err == io.EOF && line != "" {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	var n, epoch uint64
	var worker string
	if _, err := fmt.Sscanf(line, "OK %d %s %d", &n, &worker, &epoch); err != nil || n != c.next {
		return refusal(strings.TrimSpace(line))
	}
	c.ledger.ack(c.name, n, worker, epoch, now)
	c.next++
	return nil
}
