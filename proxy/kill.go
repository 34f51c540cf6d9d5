package proxy

// Kill resets the live connections of label, of all labels when it is empty,
// returns when they are closed and answers how many.
func (p *Proxy) Kill(label string) (int, error) {
	if label != "" && p.find(label) == nil {
		return 0, ErrUnknownLabel
	}
	return p.cutAll(label, Killed), nil
}

// cutAll ends every connection of label (empty: all) and answers how many.
func (p *Proxy) cutAll(label string, why Reason) int {
	return p.cut(cutJob{reason: why}, func(c *conn) bool { return label == "" || c.label.name == label })
}

// cut ends the connections that match, as the job says, and answers how many it
// was that did. It returns when all are closed, those of another job's too.
func (p *Proxy) cut(like cutJob, match func(*conn) bool) int {
	closed := make(chan int, len(p.shards))
	p.broadcastTask(func(s *shard) task {
		j := like
		j.done = func(j *cutJob) { closed <- j.closed }
		return s.gather(&j, match)
	})
	total := 0
	for range p.shards {
		total += <-closed
	}
	return total
}
