package proxy

import "github.com/rosproxy/rosproxy/proxy/internal/sock"

// cutJob ends connections by order. All master sides go first, so that
// nothing that waits in a queue is delivered to a master whose time is over.
//
// A connection can be in two jobs, a Kill's and that of the failover that comes
// meanwhile: whichever reaches it closes it, and both wait until it is closed.
type cutJob struct {
	victims     []ref
	next        int
	clientSides bool // the master sides are closed
	reason      Reason
	graceful    bool // clients end by FIN, whatever the configuration asks of a cut
	closed      int  // by this job
	done        func(*cutJob)
}

// add orders c's end. From here on no event touches it.
func (j *cutJob) add(c *conn) {
	c.state = cutting
	j.victims = append(j.victims, c.ref())
}

// start has the shard work on j. A failover's job goes before all others.
func (s *shard) start(j *cutJob) {
	switch {
	case len(j.victims) == 0:
		j.done(j)
	case j.reason == Failover:
		s.failovers = append(s.failovers, j)
	default:
		s.cuts = append(s.cuts, j)
	}
}

// cutSlice sockets of one job are closed before the next job has its rotation:
// one label's failover does not wait for another's.
const cutSlice = 32

// workOnCuts closes at most n sockets, or a slice more. What is urgent is read
// before each.
func (s *shard) workOnCuts(n int) {
	for n > 0 && len(s.failovers)+len(s.cuts) > 0 {
		jobs := &s.failovers
		if len(s.failovers) == 0 {
			jobs = &s.cuts
		}
		j := (*jobs)[0]
		copy(*jobs, (*jobs)[1:])
		*jobs = (*jobs)[:len(*jobs)-1]
		for range cutSlice {
			n--
			s.readUrgent()
			if !s.cutNext(j) {
				break
			}
		}
		if j.isDone() {
			j.done(j)
		} else {
			*jobs = append(*jobs, j)
		}
	}
}

func (j *cutJob) isDone() bool { return j.clientSides && j.next == len(j.victims) }

// cutNext closes a socket of j's, and reports whether there is another.
func (s *shard) cutNext(j *cutJob) bool {
	if j.next == len(j.victims) {
		if j.clientSides {
			return false
		}
		j.clientSides, j.next = true, 0
	}
	c := s.conns.get(j.victims[j.next])
	j.next++
	switch {
	case c == nil: // closed by another job
	case !j.clientSides:
		s.cutMasterSide(c)
	case c.state == cutting:
		j.closed++
		s.cutClientSide(c, j)
	}
	return !j.isDone()
}

// cutMasterSide also takes back a dial in flight: its client is carried over. So
// is one whose dial has failed since it was found in flight: it does not wait
// in the queue for a master that is none any more.
func (s *shard) cutMasterSide(c *conn) {
	switch {
	case c.state == cutting:
		c.withheld = c.label.settings.DropFIN && c.withholdsFromClient()
		c.releaseMaster(s.loop, byRST)
	case c.state == dialing && c.epoch != c.label.current.Load():
		c.abortDial(s.loop)
		fallthrough
	case c.state == held:
		c.dials = 0
		c.queueRelease(s.loop)
	}
}

func (s *shard) cutClientSide(c *conn, j *cutJob) {
	if j.graceful {
		c.counters(s.loop).closedQuiet++
		c.finish(s.loop, j.reason, byFIN)
		return
	}
	how := byRST
	if j.reason == Failover {
		how = s.dropEnding(c)
	}
	c.finish(s.loop, j.reason, how)
}

// dropEnding prepares the client's side for the end that the configuration asks for
// of a failover.
func (s *shard) dropEnding(c *conn) ending {
	if !c.label.settings.DropFIN || c.withheld {
		return byRST
	}
	// Unread bytes would turn the FIN into a RST (RFC 2525, 2.17).
	sock.Discard(int(c.sides[client].fd), discardLimit)
	return byFIN
}

// withholdsFromClient reports whether c has, or its socket to the master, what
// the client was still to get: FIN would tell it that it has had all. A client that
// has ended waits for the rest of an answer, whether that has begun or not.
func (c *conn) withholdsFromClient() bool {
	f := &c.flows[down]
	return f.holds() || f.cutShort || c.flows[up].eof && !f.eof || c.sides[master].fd != sock.NoFD && sock.Unread(int(c.sides[master].fd)) > 0
}

const discardLimit = 1 << 20

// failOver orders the end of the connections of lb's earlier epochs that may
// have reached their master, whoever has ordered it before; done is called when
// they are closed. Dials in flight are taken back with them, to be carried over
// like the held clients: carried counts both.
func (s *shard) failOver(lb *label, done func(*cutJob)) (carried int) {
	j := &cutJob{reason: Failover, done: done}
	current := lb.current.Load()
	s.conns.all(func(c *conn) {
		if c.label != lb || c.epoch == current {
			return
		}
		switch c.state {
		case relaying, closing:
			j.add(c)
		case cutting:
			if c.epoch != nil {
				j.add(c)
			}
		case dialing:
			carried++
			j.victims = append(j.victims, c.ref())
		case arrived, header, held:
			carried++
		}
	})
	s.start(j)
	return carried
}

// resume has the held clients of lb released, and lets its connections go on that
// nothing could be moved for.
func (s *shard) resume(lb *label) {
	takes := lb.takesClients()
	s.conns.all(func(c *conn) {
		switch {
		case c.label != lb:
		case c.state == held && takes:
			c.dials = 0
			c.queueRelease(s.loop)
		case c.state == relaying:
			c.enqueue(s.loop)
		}
	})
	lb.pace.begin(s.number, s.releases[lb.index].oldest(), s.clock.now())
}

// slotsPerPiece is how many slots a task looks at in one piece.
const slotsPerPiece = 1024

// gather makes the task that orders the end of the connections that match.
func (s *shard) gather(j *cutJob, match func(*conn) bool) task {
	at := 0
	return func() (more bool) {
		at = s.conns.some(at, slotsPerPiece, func(c *conn) {
			if match(c) {
				j.add(c)
			}
		})
		if at < s.conns.size() {
			return true
		}
		s.start(j)
		return false
	}
}
