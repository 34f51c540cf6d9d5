// Package handover replaces a process by its successor: a new program, started
// by the old one, that is given the same listening sockets.
//
// The two agree, over a connection between them, on who accepts:
//
//	successor                        predecessor
//	  prepares itself, serves nothing  accepts
//	  ready            ->
//	                   <-              take over
//	  accepts as well
//	  serving          ->
//	                                   stops accepting, keeps its copies of the sockets
//	                   <-              released
//	  ...
//	  ending           ->              (only if the successor ends in good order)
//	                                   closes its copies
//
// At every moment at least one of them accepts. Until the successor has said
// that it serves, the predecessor does, and may change its mind: a successor
// that ends, says nothing in time, or is not wanted any more, is ended with its
// whole process group, and nothing has happened. A predecessor that ends leaves
// the sockets to the successor, which takes over on its own.
//
// The connection outlives the takeover. Its end without a word tells the
// predecessor that the successor has died, and that its copies of the sockets
// are the last: it can accept again. A successor that hands over in its turn
// passes the connection on, so that every generation that still drains learns
// of the death of the newest, and the youngest of them takes its place.
//
// The predecessor can carry something to the successor that this is to know
// before it serves (Carry), and answers its questions from then on (Ask), over
// the same connection. Of several generations each asks the one before it, and,
// when that has ended, the next older one.
//
// The package knows nothing of what is served, nor of what is carried and asked.
package handover

import (
	"errors"
	"os"
	"strings"
)

// Errors that callers may look for.
var (
	ErrGone      = errors.New("the other process closed the connection") // it has ended, or is about to
	ErrCalledOff = errors.New("the predecessor called it off")
	ErrEnded     = errors.New("the process that took over ends in good order")
)

// Variable names the environment variable that tells a process that it is a successor.
const Variable = "ROSPROXY_HANDOVER"

// Socket is a socket that is handed over.
type Socket struct {
	Name string
	File *os.File
	// Shared: somebody besides the two processes keeps the socket, and what
	// belongs to it (its path, its queue), as systemd does.
	Shared bool
}

// cut takes the variable called name out of env.
func cut(env []string, name string) (value string, found bool, rest []string) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value, found = v, true
			continue
		}
		rest = append(rest, e)
	}
	return value, found, rest
}
