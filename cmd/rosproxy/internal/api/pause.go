package api

import "time"

// PauseState is a label's pause: the answer of POST and DELETE /pause.
type PauseState struct {
	Label  string     `json:"label"`
	Paused bool       `json:"paused"`
	By     string     `json:"by"`     // who has paused it
	Active int        `json:"active"` // connections that have reached a master; those of earlier generations of the process too
	Held   int        `json:"held"`   // clients that wait for one
	Until  *time.Time `json:"until"`  // null: it is not paused
}

// Paused is one element of the answer of GET /pause.
type Paused struct {
	PauseState
	Master *string `json:"master"` // HOST:PORT that a consistent read has named that began after the pause; null: none yet
}

// PauseInfo is the pause of a LabelStatus.
type PauseInfo struct {
	By    string    `json:"by"` // who has paused it
	Until time.Time `json:"until"`
}
