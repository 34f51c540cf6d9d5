package reaper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// entry is what proc(5) says of a process.
type entry struct {
	pid, parent int
	state       byte
}

// processes lists all that there are now.
func processes() []entry {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var all []entry
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // a process that has ended has none
		if e, ok := parseStat(string(text)); ok {
			all = append(all, e)
		}
	}
	return all
}

// parseStat reads "pid (name) state parent ...", where the name may have any character.
func parseStat(text string) (e entry, ok bool) {
	name := bytes.LastIndexByte([]byte(text), ')')
	if name < 0 {
		return e, false
	}
	var state string
	if _, err := fmt.Sscan(text[name+1:], &state, &e.parent); err != nil {
		return e, false
	}
	e.state = state[0]
	_, err := fmt.Sscan(text, &e.pid)
	return e, err == nil
}

// below lists the processes below one, of any generation, without the zombies.
func below(pid int, all []entry) []entry {
	var found []entry
	for _, p := range all {
		if p.parent != pid {
			continue
		}
		if p.state != 'Z' {
			found = append(found, p)
		}
		found = append(found, below(p.pid, all)...)
	}
	return found
}
