package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	maxConns          = 4096
	replyWriteTimeout = 5 * time.Second
)

// server answers clients and followers.
type server struct {
	id    string
	store *store
	log   zerolog.Logger

	term    atomic.Pointer[term]    // nil unless this worker is master
	replica atomic.Pointer[replica] // nil unless it follows one

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// serve accepts on ln until ctx ends. When it returns ln and every connection
// are closed and all handlers have ended.
func (s *server) serve(ctx context.Context, ln net.Listener) error {
	defer s.wg.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close(); s.closeAll() })()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			s.closeAll()
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		case err != nil: // out of descriptors, or a client that left again
			s.log.Warn().Err(err).Msg("not accepting")
			sleep(ctx, retryEvery)
		case !s.add(conn):
			conn.Close()
		default:
			s.wg.Add(1)
			go s.handle(ctx, conn)
		}
	}
}

func (s *server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConns {
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// handle answers the lines of one connection until it ends.
func (s *server) handle(ctx context.Context, conn net.Conn) {
	defer s.wg.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	if ctx.Err() != nil {
		return // accepted after closeAll
	}
	in := bufio.NewReaderSize(conn, maxLine)
	out := bufio.NewWriter(deadlineWriter{conn})
	for {
		line, err := readLine(in)
		if err != nil {
			if errors.Is(err, errLongLine) {
				s.log.Warn().Stringer("peer", conn.RemoteAddr()).Err(err).Msg("connection closed")
			}
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "PUT":
			s.put(out, rest)
		case "DUMP":
			s.dump(out)
		case "STATUS":
			s.status(out)
		case "REPLICATE":
			s.replicate(conn, in, out, rest)
			return
		default:
			fmt.Fprintf(out, "ERR unknown request %q\n", verb)
		}
		if out.Flush() != nil {
			return
		}
	}
}

// put answers PUT: OK only when the record is where it must be.
func (s *server) put(out io.Writer, rest string) {
	r, err := parseRecord(rest)
	if err != nil {
		fmt.Fprintf(out, "ERR %v\n", err)
		return
	}
	tm := s.term.Load()
	if tm == nil {
		fmt.Fprintf(out, "ERR worker %s is not master\n", s.id)
		return
	}
	if err := tm.put(r); err != nil {
		fmt.Fprintf(out, "ERR worker %s: %v\n", s.id, err)
		return
	}
	fmt.Fprintf(out, "OK %d %s %d\n", r.n, s.id, tm.epoch)
}

func (s *server) dump(out *bufio.Writer) {
	log, _ := s.store.after(0)
	fmt.Fprintf(out, "RECORDS %d\n", len(log))
	var b []byte
	for _, r := range log {
		b = appendRecord(b[:0], r)
		if _, err := out.Write(b); err != nil {
			return // seen again by the flush
		}
	}
}

func (s *server) status(out io.Writer) {
	role, epoch, whole, slave, pristine := "none", uint64(0), false, "", false
	if tm := s.term.Load(); tm != nil {
		pristine = tm.untouched()
		role, epoch, whole, slave = "master", tm.epoch, true, tm.inSyncSlave()
	} else if r := s.replica.Load(); r != nil {
		role, whole = "spare", r.whole()
		if r.asSlave {
			role = "slave"
		}
	}
	records, history := s.store.holds()
	fmt.Fprintf(out, "STATUS id=%s role=%s epoch=%d records=%d complete=%t in-sync=%s history=%s pristine=%t\n",
		s.id, role, epoch, records, whole, slave, history, pristine)
}

// replicate feeds a follower until its connection ends.
func (s *server) replicate(conn net.Conn, in *bufio.Reader, out *bufio.Writer, rest string) {
	w := strings.Fields(rest)
	tm := s.term.Load()
	switch {
	case len(w) != 3 || !isWord(w[0]) || !isWord(w[1]) || (w[2] != "slave" && w[2] != "spare"):
		fmt.Fprint(out, "ERR want REPLICATE <id> <incarnation> slave|spare\n")
	case tm == nil:
		fmt.Fprintf(out, "ERR worker %s is not master\n", s.id)
	default:
		f := &follower{member: member{ID: w[0], Incarnation: w[1]}}
		log := s.log.With().Str("follower", w[0]).Str("as", w[2]).Logger()
		log.Info().Msg("follower joined")
		err := tm.feed(conn, in, f, w[2] == "slave")
		log.Info().AnErr("reason", err).Msg("follower left")
		return
	}
	out.Flush() //nolint:errcheck // the connection is closed next
}

// deadlineWriter bounds every write, so that a client that does not read
// cannot hold a handler.
type deadlineWriter struct{ conn net.Conn }

func (w deadlineWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(replyWriteTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}
