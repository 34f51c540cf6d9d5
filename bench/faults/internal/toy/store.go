package toy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// store is that of one label.
type store struct {
	label string

	mu       sync.Mutex
	promoted chan struct{} // closed while it may answer
	term     uint64
	count    int
	last     string
	log      *os.File
}

func newStore(label string) *store { return &store{label: label, promoted: make(chan struct{})} }

// LogPath is where a master keeps the store of a label in a term.
func LogPath(dir, label string, term uint64, name string) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%d-%s.log", label, term, name))
}

// Entries are what the file of a store has, without a line that is being written.
func Entries(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []string
	for line := range bytes.Lines(text) {
		if id, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			entries = append(entries, string(id))
		}
	}
	return entries, nil
}

// promote takes the state over from the file of the master before, and answers from now on.
func (s *store) promote(dir, name string, term uint64, from string) error {
	var entries []string
	if from != "" {
		var err error
		if entries, err = Entries(from); err != nil {
			return fmt.Errorf("take over the store of %s: %w", s.label, err)
		}
	}
	log, err := os.OpenFile(LogPath(dir, s.label, term, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, e := range entries {
		text.WriteString(e + "\n")
	}
	if _, err := log.Write(text.Bytes()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	s.term, s.log, s.count, s.last = term, log, len(entries), "-"
	if len(entries) > 0 {
		s.last = entries[len(entries)-1]
	}
	close(s.promoted)
	return nil
}

// hold makes it a replica again, which answers nobody.
func (s *store) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

// close ends the term; s.mu is held.
func (s *store) close() {
	if s.log != nil {
		s.log.Close()
		s.log = nil
		s.promoted = make(chan struct{})
	}
}

// ready is closed while the store may answer.
func (s *store) ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.promoted
}

// answer carries a request out. Not ok: the store is a replica again.
func (s *store) answer(name, verb, id string) (text string, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return "", false, nil
	}
	if verb == "A" {
		if _, err := s.log.WriteString(id + "\n"); err != nil {
			return "", false, err
		}
		s.count, s.last = s.count+1, id
	}
	return fmt.Sprintf("%s %d %d %s\n", name, s.term, s.count, s.last), true, nil
}
