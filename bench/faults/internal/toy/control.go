package toy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// Master is a master as the harness has it: a host, and the process there.
type Master struct {
	Name    string
	Host    *lan.Host
	Address map[string]netip.AddrPort // by label

	dir, socket string
	args        []string
	process     *lan.Process
	web         http.Client
}

// New makes a master that is not running yet. Its files are in dir, which all
// masters share.
func New(name string, h *lan.Host, dir string, address map[string]netip.AddrPort) *Master {
	m := &Master{Name: name, Host: h, Address: address, dir: dir, socket: filepath.Join(dir, name+".sock")}
	m.args = []string{"/proc/self/exe", Arg, name, m.socket, dir}
	for label, a := range address {
		m.args = append(m.args, label+"="+a.String())
	}
	m.web = http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", m.socket)
		},
	}}
	return m
}

// Start starts the process, unless it runs, and returns when it takes connections.
func (m *Master) Start() error {
	if m.Alive() {
		return nil
	}
	log := filepath.Join(m.dir, m.Name+".log")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	m.args[0] = exe
	if m.process, err = m.Host.Start(log, []string{"GOMAXPROCS=2"}, m.args...); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = m.State(); err == nil {
			return nil
		}
		if time.Now().After(deadline) || !m.Alive() {
			said, _ := os.ReadFile(log)
			return fmt.Errorf("start master %s: %w: %s", m.Name, err, said)
		}
	}
}

// Alive reports whether the process runs, or stands still.
func (m *Master) Alive() bool { return m.process != nil && m.process.Alive() }

// Kill ends the process like a crash.
func (m *Master) Kill() { m.process.Kill() }

// Freeze stops the process.
func (m *Master) Freeze() error { return lan.Freeze(m.process.PID()) }

// Thaw lets it go on.
func (m *Master) Thaw() error { return lan.Thaw(m.process.PID()) }

// Promote makes it answer for a label, with what the file of the master before has.
func (m *Master) Promote(label string, term uint64, from string) error {
	return m.order("promote", order{Label: label, Term: term, From: from})
}

// Rejoin makes it a replica, which answers nobody, and closes its clients' connections.
func (m *Master) Rejoin(label string) error { return m.order("rejoin", order{Label: label}) }

// Log is the file of its store of a label in a term.
func (m *Master) Log(label string, term uint64) string { return LogPath(m.dir, label, term, m.Name) }

// State asks the master for what it has counted.
func (m *Master) State() (State, error) {
	var s State
	answer, err := m.web.Get("http://master/state")
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}

func (m *Master) order(what string, o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	answer, err := m.web.Post("http://master/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, m.Name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return fmt.Errorf("%s %s: %s: %s", what, m.Name, answer.Status, bytes.TrimSpace(text))
	}
	return nil
}
