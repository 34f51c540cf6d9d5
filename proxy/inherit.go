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

// Release stops accepting for good, because another process has the same
// sockets and accepts from them: nothing is done to the sockets themselves, and
// what is in their queues is the other's. When it returns, no copy of them is
// open here. Resume is an error from then on; a Shutdown or Pause finds
// nothing to pause.
func (p *Proxy) Release() error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return errors.New("release the listeners: they are closed")
	}
	p.leaveListeners()
	l.closeAll()
	l.released = true
	p.logListeners("listener handed over")
	return nil
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
