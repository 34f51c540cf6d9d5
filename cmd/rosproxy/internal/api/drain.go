package api

import (
	"time"

	"github.com/rosproxy/rosproxy/drain"
)

// DrainState is the answer of /drain.
type DrainState struct {
	State     drain.Phase `json:"state"`
	Active    int         `json:"active"`
	Started   *time.Time  `json:"started"` // null while serving, as the deadline
	Accepting bool        `json:"accepting"`
	Deadline  *time.Time  `json:"deadline"`
}
