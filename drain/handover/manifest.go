package handover

import (
	"encoding/json"
	"fmt"
)

// manifest is what the Variable says. The descriptors from firstSocket on are
// the sockets, in this order, and then the connections to earlier generations.
//
// What a program of before does not know of it (Ancestors) it may ignore.
type manifest struct {
	Protocol   int              `json:"protocol"`
	PID        int              `json:"pid"`        // of the predecessor
	Generation int              `json:"generation"` // of the successor
	Sockets    []manifestSocket `json:"sockets"`
	Ancestors  int              `json:"ancestors,omitempty"` // generations before the predecessor that still live
}

type manifestSocket struct {
	Name   string `json:"name"`
	Shared bool   `json:"shared,omitempty"`
}

const (
	protocol    = 1
	connFD      = 3 // after stdin, stdout and stderr
	firstSocket = connFD + 1

	maxSockets   = 1024
	maxAncestors = 64
	maxManifest  = 100 << 10 // bytes; the kernel takes 128 KiB a variable (MAX_ARG_STRLEN)
)

func (m manifest) String() string {
	b, _ := json.Marshal(m) // text and numbers: it cannot fail
	return string(b)
}

// descriptors is how many the manifest tells of, from connFD on.
func (m manifest) descriptors() int { return 1 + len(m.Sockets) + m.Ancestors }

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
	case len(m.Sockets) > maxSockets:
		return m, fmt.Errorf("%d sockets are too many", len(m.Sockets))
	case m.Ancestors < 0 || m.Ancestors > maxAncestors:
		return m, fmt.Errorf("%d ancestors: want 0 to %d", m.Ancestors, maxAncestors)
	}
	return m, nil
}
