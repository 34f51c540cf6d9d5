package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// feed is the master's side of a replication connection: it sends f the full
// copy and every record after it, and takes its acknowledgements, until the
// connection or the term ends.
func (tm *term) feed(conn net.Conn, in *bufio.Reader, f *follower, asSlave bool) error {
	ctx, cancel := context.WithCancelCause(tm.ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	tm.join(f, asSlave)
	defer tm.leave(f)
	ended := make(chan struct{})
	go tm.takeAcks(in, f, cancel, ended)
	cancel(tm.send(ctx, conn))
	<-ended
	return context.Cause(ctx)
}

// send writes the log from its beginning, and on as it grows. What was read from
// the store counts only while the term lasts: after it, another copy may be there.
func (tm *term) send(ctx context.Context, conn net.Conn) error {
	log, _ := tm.store.after(0)
	batch := fmt.Appendf(nil, "COPY %d %d %s\n", tm.epoch, len(log), tm.history)
	for position := 0; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, r := range log {
			batch = appendRecord(batch, r)
			if len(batch) >= bufSize {
				if err := flush(conn, &batch); err != nil {
					return err
				}
			}
		}
		if err := flush(conn, &batch); err != nil {
			return err
		}
		position += len(log)
		if log = tm.store.await(ctx, position); log == nil {
			return context.Cause(ctx)
		}
	}
}

func flush(conn net.Conn, batch *[]byte) error {
	if len(*batch) == 0 {
		return nil
	}
	if err := conn.SetWriteDeadline(time.Now().Add(linkWriteTimeout)); err != nil {
		return fmt.Errorf("send to follower: %w", err)
	}
	if _, err := conn.Write(*batch); err != nil {
		return fmt.Errorf("send to follower: %w", err)
	}
	*batch = (*batch)[:0]
	return nil
}

// takeAcks takes f's acknowledgements until its connection ends; then it ends
// the sending too, and closes ended.
func (tm *term) takeAcks(in *bufio.Reader, f *follower, end context.CancelCauseFunc, ended chan<- struct{}) {
	defer close(ended)
	for {
		line, err := readLine(in)
		if err != nil {
			end(fmt.Errorf("read from follower: %w", err))
			return
		}
		number, ok := strings.CutPrefix(line, "ACK ")
		position, err := strconv.Atoi(number)
		if !ok || err != nil || position < 0 {
			end(fmt.Errorf("follower said %q: want ACK <position>", line))
			return
		}
		tm.ack(f, position)
	}
}
