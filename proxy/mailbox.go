package proxy

import (
	"sync"
	"sync/atomic"
)

// mailbox is the one way for other goroutines to reach a shard: a letter is a
// function that the shard runs between two events.
type mailbox struct {
	bell    int         // eventfd, in the shard's epoll
	waiting atomic.Bool // there are letters

	mu      sync.Mutex
	open    bool // guarded by mu, as the rest: the shard runs and takes letters
	letters []func()
	spare   []func()
}

// post has the shard run f soon. It answers false, and f is not run, when the
// shard does not run: not yet, or no more.
func (m *mailbox) post(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.postLocked(f)
}

// postOrRun has the shard run f, or runs it at once when the shard does not
// run: then nothing else touches the shard's state. Such an f must not post.
func (m *mailbox) postOrRun(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.postLocked(f) {
		f()
	}
}

func (m *mailbox) postLocked(f func()) bool {
	if !m.open {
		return false
	}
	m.letters = append(m.letters, f)
	if !m.waiting.Swap(true) {
		ring(m.bell)
	}
	return true
}

// start opens the box.
func (m *mailbox) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = true
}

// stop closes the box, unless there are letters to be read first.
func (m *mailbox) stop() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = len(m.letters) > 0
	return !m.open
}

// take returns the letters that have come; give hands the slice back.
func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	m.letters, m.spare = m.spare[:0], nil
	m.waiting.Store(false)
	return letters
}

func (m *mailbox) give(letters []func()) {
	clear(letters)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare = letters
}
