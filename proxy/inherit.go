package proxy

import (
	"errors"
	"fmt"
	"os"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// ListenerFiles gives copies of the listening sockets, in the order of
// Config.Listeners, for another process. They are the caller's to close.
func (p *Proxy) ListenerFiles() ([]*os.File, error) {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return nil, errors.New("copy the listeners: they are closed")
	}
	var files []*os.File
	for _, s := range l.sockets {
		fd, err := sock.Duplicate(s.fd)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("copy the listener %q: %w", s.Label, err)
		}
		files = append(files, os.NewFile(uintptr(fd), s.Label))
	}
	return files, nil
}

// Release stops accepting, because another process has the same sockets and
// accepts from them: nothing is done to the sockets themselves, and what is in
// their queues is the other's. The copies stay open, so that Reclaim can have
// them back when that process dies. It does not wait for the shards: left is
// closed when none of them accepts any more. AcceptAgain is an error from then on;
// a Shutdown or StopAccepting finds nothing to do.
func (p *Proxy) Release() (left <-chan struct{}, err error) {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return nil, errors.New("release the listeners: they are closed")
	}
	l.released = true
	p.logListeners("listener handed over")
	return p.beginLeaving(), nil
}

// Reclaim accepts again after a Release: the other process has died. Of the
// sockets that it has stopped before, for all who have them, because it did not
// want them, the ports are opened again. When it has stopped all of them it was
// drained: that is an error, and changes nothing.
func (p *Proxy) Reclaim() error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case p.ended.Load():
		return ErrClosed
	case !l.released:
		return errors.New("reclaim the listeners: they were not released")
	}
	if err := l.restartStopped(); err != nil {
		return err
	}
	for _, s := range l.sockets {
		sock.AllowNewHandshakes(s.fd) // it may have been killed while it stopped accepting
	}
	l.released = false
	l.open.Store(true)
	p.logListeners("listener taken back")
	p.broadcast(func(s *shard) { s.acceptAgain() })
	return nil
}

// CloseReleased closes the copies that Release has left open: the other
// process ends in good order, and nobody is to take its place.
func (p *Proxy) CloseReleased() {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		<-p.beginLeaving() // so that no shard meets another file by the number of one of them
		l.closeAll()
	}
}

// Rearm has the shards look into the listen queues. It is for after
// another process has released the sockets: the kernel wakes one waiter a
// connection, and that may have been the one that went.
func (p *Proxy) Rearm() {
	p.broadcast(func(s *shard) {
		if s.accepting {
			s.leaveListeners()
			s.acceptAgain() // adding a socket to an epoll looks at its queue
		}
	})
}

// Listeners are the listeners as configured.
func (p *Proxy) Listeners() []Listener { return p.config.Listeners }

// Close closes the listeners of a Proxy for which Serve is not to be called;
// after Serve it does nothing.
func (p *Proxy) Close() error {
	if p.serving.CompareAndSwap(false, true) {
		p.close()
	}
	return nil
}
