package toy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Arg is the first argument of a process that is a master.
const Arg = "master"

// master is one process.
type master struct {
	name, dir string
	stores    map[string]*store
	open      sync.Map // net.Conn -> *client
}

// Run is the process: its name, its control socket, the folder of its files,
// and LABEL=HOST:PORT for each label. It ends when its listeners do.
func Run(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("%s wants a name, a socket, a folder and LABEL=HOST:PORT", Arg)
	}
	m := &master{name: args[0], dir: args[2], stores: map[string]*store{}}
	var serving sync.WaitGroup
	for _, arg := range args[3:] {
		label, address, _ := strings.Cut(arg, "=")
		l, err := net.Listen("tcp4", address)
		if err != nil {
			return err
		}
		s := newStore(label)
		m.stores[label] = s
		serving.Go(func() { m.accept(l, s) })
	}
	_ = os.Remove(args[1]) // of a master that was killed
	control, err := net.Listen("unix", args[1])
	if err != nil {
		return err
	}
	server := &http.Server{Handler: m.control(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(control) }()
	serving.Wait()
	return nil
}

// client is one connection.
type client struct {
	label string
	gone  chan struct{} // closed when the master is made a replica
}

func (m *master) accept(l net.Listener, s *store) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.(*net.TCPConn).SetReadBuffer(32 << 10) // what a client pumps is soon read, when it has ended
		of := &client{label: s.label, gone: make(chan struct{})}
		m.open.Store(c, of)
		go m.serve(c, s, of.gone)
	}
}

// serve answers one client. What waits for an answer is forgotten when the master
// is made a replica.
func (m *master) serve(c net.Conn, s *store, gone <-chan struct{}) {
	defer m.open.Delete(c)
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, id, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if verb == "P" {
			var n int64
			if _, err := fmt.Sscan(id, &n); err != nil || m.swallow(r, n) != nil {
				return
			}
			continue
		}
		text, ok, err := "", false, error(nil)
		for !ok && err == nil {
			select {
			case <-s.ready():
			case <-gone:
				return
			}
			text, ok, err = s.answer(m.name, verb, id)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "master:", err)
			return
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

// swallow throws bytes away, more slowly than they come.
func (m *master) swallow(r io.Reader, n int64) error {
	for n > 0 {
		some, err := io.CopyN(io.Discard, r, min(n, 4096))
		if err != nil {
			return err
		}
		n -= some
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// order is what the harness asks.
type order struct {
	Label string
	Term  uint64
	From  string // file of the master before; empty: none
}

// State is what a master says of itself.
type State struct {
	Sockets map[string]int // open, by label
}

// control is what the harness talks to.
func (m *master) control() http.Handler {
	mux := http.NewServeMux()
	do := func(path string, f func(o order, s *store) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			var o order
			err := json.NewDecoder(r.Body).Decode(&o)
			s := m.stores[o.Label]
			if err == nil && s == nil {
				err = fmt.Errorf("label %q is not known", o.Label)
			}
			if err == nil {
				err = f(o, s)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	do("POST /promote", func(o order, s *store) error { return s.promote(m.dir, m.name, o.Term, o.From) })
	do("POST /rejoin", func(_ order, s *store) error {
		s.hold()
		m.open.Range(func(c, of any) bool {
			if of := of.(*client); of.label == s.label {
				if _, there := m.open.LoadAndDelete(c); there {
					close(of.gone)
					c.(net.Conn).Close()
				}
			}
			return true
		})
		return nil
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		state := State{Sockets: map[string]int{}}
		m.open.Range(func(_, of any) bool { state.Sockets[of.(*client).label]++; return true })
		_ = json.NewEncoder(w).Encode(state)
	})
	return mux
}
