package proxy

// cutJob ends connections by order. All master sides go first, so that
// nothing that waits in a queue is delivered to a master whose time is over.
type cutJob struct {
	victims    []ref
	next       int
	clientSide bool // the master sides are closed
	reason     Reason
	parts      bool // clients end by FIN, whatever the configuration asks of a cut
	done       func()
}

// cut orders the end of victims; done is called when the last is closed. From
// here on no event touches them.
func (s *shard) cut(victims []ref, why Reason, done func()) {
	s.order(&cutJob{victims: victims, reason: why, done: done})
}

func (s *shard) order(j *cutJob) {
	if len(j.victims) == 0 {
		j.done()
		return
	}
	for _, r := range j.victims {
		s.setState(s.conns.get(r), cutting)
	}
	s.cuts = append(s.cuts, j)
}

// workOnCuts closes at most n sockets.
func (s *shard) workOnCuts(n int) {
	for ; n > 0 && len(s.cuts) > 0; n-- {
		j := s.cuts[0]
		if j.next == len(j.victims) {
			if !j.clientSide {
				j.clientSide, j.next = true, 0
				continue
			}
			s.cuts = s.cuts[1:]
			j.done()
			continue
		}
		c := s.conns.get(j.victims[j.next])
		j.next++
		if !j.clientSide {
			s.releaseMaster(c, byRST)
			continue
		}
		if j.parts {
			c.tally.parted++
			s.finish(c, j.reason, byFIN)
			continue
		}
		s.finish(c, j.reason, s.dropEnding(c))
	}
}

// dropEnding prepares the client's side for the end that the configuration asks for.
func (s *shard) dropEnding(c *conn) ending {
	if !s.p.config.DropFIN {
		return byRST
	}
	// Unread bytes would turn the FIN into a RST (RFC 2525, 2.17).
	discard(int(c.sides[client].fd), discardLimit)
	return byFIN
}

const discardLimit = 1 << 20

// outOfOffice finds the connections of o's earlier epochs that have reached
// their master. Those that have not are taken back, to be carried over with
// the held ones: carried counts both.
func (s *shard) outOfOffice(o *office) (victims []ref, carried int) {
	current := o.current.Load()
	s.conns.all(func(c *conn) {
		if c.office != o || c.epoch == current {
			return
		}
		switch c.state {
		case relaying, parting:
			victims = append(victims, c.ref())
		case dialing:
			carried++
			s.callBack(c)
			c.dials = 0
			s.queue(c)
		case header, held:
			carried++
		}
	})
	return victims, carried
}

// Kill resets the live connections of label, of all labels when it is empty,
// returns when they are closed and answers how many.
func (p *Proxy) Kill(label string) (int, error) {
	if label != "" && p.officeOf(label) == nil {
		return 0, ErrUnknownLabel
	}
	return p.cutAll(label, Killed), nil
}

// cutAll ends every connection of label (empty: all) and answers how many.
func (p *Proxy) cutAll(label string, why Reason) int {
	counts := make(chan int, len(p.shards))
	p.tell(func(s *shard) {
		var victims []ref
		s.conns.all(func(c *conn) {
			if c.state != cutting && (label == "" || c.office.label == label) {
				victims = append(victims, c.ref())
			}
		})
		s.cut(victims, why, func() { counts <- len(victims) })
	})
	total := 0
	for range p.shards {
		total += <-counts
	}
	return total
}
