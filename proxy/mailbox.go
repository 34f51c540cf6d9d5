package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// mailbox is the one way for other goroutines to reach a shard. It has two
// classes. An urgent message fences: the shard runs it between any two events
// and any two closes. A task can wait, and gives way to what is urgent: it does
// a bounded piece of its work at a time.
type mailbox struct {
	waker   int         // eventfd, in the shard's epoll
	urgent  atomic.Bool // there are urgent messages
	waiting atomic.Bool // there are tasks

	mu       sync.Mutex
	open     bool // guarded by mu, as the rest: the shard runs and takes what comes
	messages []func()
	spare    []func()
	tasks    []work
}

// task does a piece of its work and reports whether there is more.
type task func() (more bool)

// work is a task, or a client that another shard hands over: that is what comes
// most, and as a task each would be garbage.
type work struct {
	task   task // nil: client is to be registered
	client newClient
}

// post has the shard run t soon. It returns false, and t is not run, when the
// shard does not run: not yet, or no more.
func (m *mailbox) post(t task) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.postLocked(work{task: t})
}

// handOver has the shard register c soon. It returns false when the shard does
// not run, as post does.
func (m *mailbox) handOver(c newClient) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.postLocked(work{client: c})
}

// postOrRun has the shard run t, or runs it at once when the shard does not
// run: then nothing else touches the shard's state. Such a t must not post.
func (m *mailbox) postOrRun(t task) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.postLocked(work{task: t}) {
		for t() {
		}
	}
}

func (m *mailbox) postLocked(w work) bool {
	if !m.open {
		return false
	}
	m.tasks = append(m.tasks, w)
	if !m.waiting.Swap(true) {
		sock.Wake(m.waker)
	}
	return true
}

// urge is postOrRun for an urgent message.
func (m *mailbox) urge(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.open {
		f()
		return
	}
	m.messages = append(m.messages, f)
	if !m.urgent.Swap(true) {
		sock.Wake(m.waker)
	}
}

// start opens the mailbox.
func (m *mailbox) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = true
}

// stop closes the mailbox, unless something in it is to be done first.
func (m *mailbox) stop() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = len(m.messages) > 0 || len(m.tasks) > 0
	return !m.open
}

// takeUrgent returns the messages that have come; giveBack returns the slice.
func (m *mailbox) takeUrgent() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	messages := m.messages
	m.messages, m.spare = m.spare[:0], nil
	m.urgent.Store(false)
	return messages
}

func (m *mailbox) giveBack(messages []func()) {
	clear(messages)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare = messages
}

// takeTasks adds the tasks that have come to q.
func (m *mailbox) takeTasks(q *queue[work]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.tasks {
		q.add(w)
	}
	clear(m.tasks)
	m.tasks = m.tasks[:0]
	m.waiting.Store(false)
}
