package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Replication, on the port that clients use. The follower dials the master:
//
//	REPLICATE <id> <incarnation> slave|spare
//
// and the master answers with a full copy, and then every record as it comes:
//
//	COPY <epoch> <count> <history>
//	<client> <n>           <count> lines, and on without end
//
// The follower says how far it is, the first time when the copy is complete:
//
//	ACK <position>

const (
	linkDialTimeout  = time.Second
	linkWriteTimeout = 5 * time.Second // a line that does not leave within this ends the connection
	redialEvery      = 50 * time.Millisecond
)

// replica follows one master.
type replica struct {
	master  string // address
	asSlave bool
	history string // the one that is followed
	epoch   uint64 // the earliest that is followed
	self    member
	store   *store
	log     zerolog.Logger
	news    chan<- struct{} // is told when the copy is complete; nil: nobody is

	copied atomic.Uint64 // epoch of the master whose complete copy this is, and keeps to be; 0: not so
	cancel context.CancelFunc
	done   chan struct{}
}

// start follows until stop is called.
func (r *replica) start(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.done = make(chan struct{})
	go r.follow(ctx)
}

// stop ends the following. When it returns nothing is acknowledged to that
// master any more.
func (r *replica) stop() {
	r.cancel()
	<-r.done
}

// follow dials the master again and again. A broken connection is no reason to
// take over: the lock decides who is master, never a socket.
func (r *replica) follow(ctx context.Context) {
	defer close(r.done)
	last := ""
	for ctx.Err() == nil {
		err := r.once(ctx)
		r.copied.Store(0)
		if err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			r.log.Warn().Err(err).Msg("not replicating")
		}
		sleep(ctx, redialEvery)
	}
}

// once follows over one connection until it ends.
func (r *replica) once(ctx context.Context) error {
	if n, history := r.store.holds(); n > 0 && history != "" && history != r.history {
		return fmt.Errorf("the group is of history %s, and the %d records here are of %s: they stay until this worker is started anew",
			r.history, n, history)
	}
	d := net.Dialer{Timeout: linkDialTimeout}
	conn, err := d.DialContext(ctx, "tcp", r.master)
	if err != nil {
		return fmt.Errorf("dial master: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	kind := "spare"
	if r.asSlave {
		kind = "slave"
	}
	if err := say(conn, fmt.Sprintf("REPLICATE %s %s %s\n", r.self.ID, r.self.Incarnation, kind)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, bufSize)
	position, err := r.copyAll(in)
	if err != nil {
		return err
	}
	return r.keepUp(ctx, conn, in, position)
}

// copyAll receives the full copy beside the store and puts it there when it is
// complete: should the master die half-way, the store is what it was.
func (r *replica) copyAll(in *bufio.Reader) (position int, err error) {
	began := time.Now()
	h, err := readCopyHead(in)
	switch {
	case err != nil:
		return 0, err
	case h.history != r.history:
		return 0, fmt.Errorf("master is of history %s, want %s", h.history, r.history)
	case h.epoch < r.epoch:
		return 0, fmt.Errorf("master is of epoch %d, want %d", h.epoch, r.epoch)
	}
	log, err := readCopy(in, h)
	if err != nil {
		return 0, err
	}
	r.store.replace(log, h.history)
	r.copied.Store(h.epoch)
	nudge(r.news)
	r.log.Info().Uint64("epoch", h.epoch).Int("records", h.count).Dur("took_ms", time.Since(began)).Msg("full copy complete")
	return h.count, nil
}

// keepUp stores what the master sends from position on, and acknowledges it
// whenever there is nothing more to read at once.
func (r *replica) keepUp(ctx context.Context, conn net.Conn, in *bufio.Reader, position int) error {
	for {
		if in.Buffered() == 0 {
			// The last moment: after stop nothing may be acknowledged.
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := say(conn, fmt.Sprintf("ACK %d\n", position)); err != nil {
				return err
			}
		}
		rec, err := readRecord(in)
		if err != nil {
			return fmt.Errorf("read record %d: %w", position+1, err)
		}
		position++
		if p := r.store.put(rec); p != position {
			return fmt.Errorf("record %d of the master is at %d here: copy again", position, p)
		}
	}
}

func readRecord(in *bufio.Reader) (record, error) {
	line, err := readLine(in)
	if err != nil {
		return record{}, err
	}
	return parseRecord(line)
}

// whole reports whether this is a complete copy that keeps up with its master.
func (r *replica) whole() bool { return r.copied.Load() != 0 }

// nudge says on c, which holds one word, that something happened.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
