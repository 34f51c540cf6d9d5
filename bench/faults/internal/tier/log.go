package tier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Line is one line of a log.
type Line struct {
	Text    string
	Time    time.Time
	Level   string
	Message string
	Label   string
	From    string
	To      string
	Reason  string
	Dropped int
	Carried int
}

// Log is what the processes of an instance have said, one after the other or at
// the same time.
type Log struct {
	path  string
	at    int64
	lines []Line
	wrong []string // lines that are no JSON: a panic, a data race
}

// Lines are those since the beginning, or since the last Forget.
func (i *Instance) Lines() ([]Line, error) {
	err := i.log.read()
	return i.log.lines, err
}

// Forget drops the lines that there are, and tells which were none.
func (i *Instance) Forget() []string {
	wrong := i.log.wrong
	i.log.lines, i.log.wrong = nil, nil
	return wrong
}

func (l *Log) read() error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	text := make([]byte, info.Size()-l.at)
	if _, err := f.ReadAt(text, l.at); err != nil {
		return err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the rest is being written
	l.at += int64(len(text))
	for raw := range bytes.Lines(text) {
		line := Line{Text: strings.TrimSpace(string(raw))}
		var other *json.UnmarshalTypeError // of a field that another message uses in its own way
		if err := json.Unmarshal(raw, &line); err != nil && !errors.As(err, &other) {
			l.wrong = append(l.wrong, fmt.Sprintf("log line %q", line.Text))
			continue
		}
		l.lines = append(l.lines, line)
	}
	return nil
}
