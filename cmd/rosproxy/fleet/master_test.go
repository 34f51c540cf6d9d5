package fleet_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

const workerPort = 7800

// master is a sync worker: to each line it answers with a line of who it is,
// the line, who the client is, and when it said so, which is soon after it
// read the line. Whatever a client is told after a cut, and when, can so be
// judged by what the client has received.
type master struct {
	name string
	host *host
	l    net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	labels []string // besides "default"
	faults []string // connections that began wrong
}

func startMaster(t *testing.T, name string, h *host) *master {
	t.Helper()
	l, err := h.listen(strconv.Itoa(workerPort))
	if err != nil {
		t.Fatalf("start master %s: %v", name, err)
	}
	m := &master{name: name, host: h, l: l, conns: map[net.Conn]bool{}}
	m.wg.Go(m.accept)
	t.Cleanup(func() {
		m.stop()
		for _, f := range m.faults {
			t.Errorf("master %s: %s", m.name, f)
		}
	})
	return m
}

func (m *master) accept() {
	for {
		c, err := m.l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.conns[c] = true
		m.mu.Unlock()
		m.wg.Go(func() { m.serve(c) })
	}
}

// serve talks with one client. What comes first tells whether rosproxy was
// told to send a PROXY header.
func (m *master) serve(c net.Conn) {
	defer m.forget(c)
	r := bufio.NewReader(c)
	client := c.RemoteAddr()
	if first, err := r.Peek(1); err != nil || first[0] == proxyproto.SIGV2[0] {
		if err != nil {
			return // a probe, or a client that was cut before it spoke
		}
		h, err := proxyproto.Read(r)
		if err != nil {
			m.fault("PROXY header from %v: %v", c.RemoteAddr(), err)
			return
		}
		client = h.SourceAddr
		if err := m.checkTLVs(h); err != nil {
			m.fault("PROXY header from %v: %v", c.RemoteAddr(), err)
		}
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		for text := strings.TrimSpace(line); ; time.Sleep(100 * time.Millisecond) {
			a := answer{master: m.name, text: text, client: client.String(), said: time.Now()}
			if _, err := fmt.Fprintln(c, a); err != nil {
				return
			}
			if text != talkOn {
				break
			}
		}
	}
}

// checkTLVs looks for what the reference says that rosproxy's header carries.
func (m *master) checkTLVs(h *proxyproto.Header) error {
	list, err := h.TLVs()
	if err != nil {
		return err
	}
	values := map[proxyproto.PP2Type]string{}
	for _, tlv := range list {
		values[tlv.Type] = string(tlv.Value)
	}
	const id, label, epoch = proxyproto.PP2_TYPE_UNIQUE_ID, 0xE0, 0xE1
	for _, number := range []proxyproto.PP2Type{id, epoch} {
		if n, err := strconv.ParseUint(values[number], 10, 64); err != nil || n == 0 {
			return fmt.Errorf("TLV %#x: got %q; want a number from 1 on", byte(number), values[number])
		}
	}
	if !m.serves(values[label]) {
		return fmt.Errorf("label: got %q; want one of which it is the master", values[label])
	}
	return nil
}

// serves reports whether the master is that of a label; each is of "default".
func (m *master) serves(label string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return label == "default" || slices.Contains(m.labels, label)
}

// become makes the master that of another label as well.
func (m *master) become(label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.labels = append(m.labels, label)
}

// talkOn is a line that the master answers again and again.
const talkOn = "talk-on"

func (m *master) fault(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

func (m *master) forget(c net.Conn) {
	c.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, c)
}

// connections is how many clients the master has.
func (m *master) connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

func (m *master) stop() {
	m.l.Close()
	m.mu.Lock()
	for c := range m.conns {
		c.Close()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// answer is one line of a master.
type answer struct {
	master string
	text   string    // the line that it answers
	client string    // as the master sees it
	said   time.Time // when
	heard  time.Time // when the client had it
}

func (a answer) String() string {
	return fmt.Sprintf("%s %s %s %d", a.master, a.text, a.client, a.said.UnixNano())
}

func parseAnswer(line string) (answer, error) {
	a := answer{heard: time.Now()}
	var nanos int64
	if _, err := fmt.Sscanf(line, "%s %s %s %d\n", &a.master, &a.text, &a.client, &nanos); err != nil {
		return a, fmt.Errorf("answer %q: %w", line, err)
	}
	a.said = time.Unix(0, nanos)
	return a, nil
}
