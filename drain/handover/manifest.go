package handover

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// manifest is what the Variable says. The descriptors from firstSocket on are
// the sockets, in this order, and then the connections to earlier generations.
// Where the sockets are too many for a variable, they are listed in a file of
// its own, which is the first of the descriptors.
//
// What a program of before does not know of it (Ancestors, Asks) it may ignore.
type manifest struct {
	Protocol   int              `json:"protocol"`
	PID        int              `json:"pid"`        // of the predecessor
	Generation int              `json:"generation"` // of the successor
	Sockets    []manifestSocket `json:"sockets"`
	Ancestors  int              `json:"ancestors,omitempty"` // generations before the predecessor that still live
	Listed     bool             `json:"listed,omitempty"`    // Sockets is in the file listFD
	Asks       []bool           `json:"asks,omitempty"`      // whether the predecessor takes questions, and each of Ancestors
}

type manifestSocket struct {
	Name   string `json:"name"`
	Shared bool   `json:"shared,omitempty"`
}

const (
	protocol = 1
	connFD   = 3 // after stdin, stdout and stderr
	listFD   = connFD + 1

	maxSockets   = 1 << 14
	maxList      = 8 << 20 // bytes
	maxAncestors = 64
	maxManifest  = 100 << 10 // bytes; the kernel takes 128 KiB a variable (MAX_ARG_STRLEN)
)

func (m manifest) String() string {
	b, _ := json.Marshal(m) // text and numbers: it cannot fail
	return string(b)
}

// descriptors is how many the manifest tells of, from connFD on.
func (m manifest) descriptors() int { return m.firstSocket() - connFD + len(m.Sockets) + m.Ancestors }

// firstSocket is the descriptor of the first of Sockets.
func (m manifest) firstSocket() int {
	if m.Listed {
		return listFD + 1
	}
	return listFD
}

// takesQuestions reports whether the predecessor takes questions (0), or the
// i-th of the generations before it.
func (m manifest) takesQuestions(i int) bool { return i < len(m.Asks) && m.Asks[i] }

// moveList moves Sockets into a file without a name.
func (m *manifest) moveList() (*os.File, error) {
	b, err := json.Marshal(m.Sockets)
	if err != nil {
		return nil, fmt.Errorf("list the sockets: %w", err)
	}
	fd, err := unix.MemfdCreate("handover", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("list the sockets: %w", os.NewSyscallError("memfd_create", err))
	}
	f := os.NewFile(uintptr(fd), "handover")
	if _, err := f.Write(b); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("list the sockets: %w", err)
	}
	m.Sockets, m.Listed = nil, true
	return f, nil
}

// readList undoes moveList: it reads Sockets from the file, which stays open.
func (m *manifest) readList() error {
	var info unix.Stat_t
	if err := unix.Fstat(listFD, &info); err != nil {
		return fmt.Errorf("read the list of sockets: descriptor %d: %w", listFD, err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG || info.Size > maxList {
		return fmt.Errorf("read the list of sockets: descriptor %d: not a file of at most %d bytes", listFD, maxList)
	}
	b := make([]byte, info.Size)
	n, err := unix.Pread(listFD, b, 0)
	if err != nil {
		return fmt.Errorf("read the list of sockets: %w", os.NewSyscallError("pread", err))
	}
	b = b[:n]
	if err := json.Unmarshal(b, &m.Sockets); err != nil {
		return fmt.Errorf("read the list of sockets: %w", err)
	}
	return m.checkCount()
}

func (m *manifest) checkCount() error {
	if len(m.Sockets) > maxSockets {
		return fmt.Errorf("%d sockets are too many", len(m.Sockets))
	}
	return nil
}

// parseManifest reads what the Variable says.
func parseManifest(text string) (manifest, error) {
	var m manifest
	if len(text) > maxManifest {
		return m, fmt.Errorf("%d bytes are too many", len(text))
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, err
	}
	switch {
	case m.Protocol != protocol:
		return m, fmt.Errorf("protocol %d; this program knows %d", m.Protocol, protocol)
	case m.PID <= 0:
		return m, fmt.Errorf("pid %d is none", m.PID)
	case m.Generation < 2:
		return m, fmt.Errorf("generation %d has no predecessor", m.Generation)
	case m.Listed && len(m.Sockets) > 0:
		return m, fmt.Errorf("%d sockets beside the list of them", len(m.Sockets))
	case m.Ancestors < 0 || m.Ancestors > maxAncestors:
		return m, fmt.Errorf("%d ancestors: want 0 to %d", m.Ancestors, maxAncestors)
	}
	return m, m.checkCount()
}
