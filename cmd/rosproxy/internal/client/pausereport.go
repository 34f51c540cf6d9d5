package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/client/switchover"
)

// showProgress says what is waited for.
func (r *pauseRun) showProgress() {
	var waits []string
	for n, u := range r.machine.Instances {
		name := r.instances[n].name
		switch {
		case r.machine.Phase == switchover.Pausing && !u.Paused:
			waits = append(waits, name+" not paused yet")
		case r.machine.Phase == switchover.Pausing:
			waits = append(waits, fmt.Sprintf("%s %d live", name, u.Active))
		case r.machine.Phase == switchover.Settling && !u.Over:
			waits = append(waits, name+" waits for another master")
		case r.machine.Phase == switchover.Resuming && u.Begun && !u.Ended:
			waits = append(waits, name+" not resumed yet")
		}
	}
	if len(waits) > namesInLine {
		waits = append(waits[:namesInLine], fmt.Sprintf("%d more", len(waits)-namesInLine))
	}
	if len(waits) > 0 {
		r.progress.show(r.label + ": " + strings.Join(waits, ", "))
	}
}

// report says what has come of it, and answers the exit code.
func (r *pauseRun) report() int {
	m := &r.machine
	r.progress.end()
	switch {
	case m.Why != "" && m.Culprit >= 0:
		r.fail(r.instances[m.Culprit], errors.New(m.Why))
	case m.Why != "":
		r.failed = true
		r.say("%s: nothing stays paused", m.Why)
	}
	staysPaused := len(r.config.Pause.Command) == 0 && m.Why == ""
	if !staysPaused {
		for _, n := range m.Left() {
			why := m.Instances[n].Why
			if why == "" {
				why = "no answer"
			}
			r.say("%s: it may stay paused for up to %v: %s", r.instances[n].name, r.config.Pause.For, why)
		}
	}
	if r.config.JSON || staysPaused {
		answers := make([]answer[*api.PauseState], len(r.instances))
		for n, i := range r.instances {
			answers[n] = answer[*api.PauseState]{i, r.states[n], nil}
			if why := m.Instances[n].Why; why != "" {
				answers[n].err = errors.New(why)
			}
		}
		if code := printPauses(r.session, r.label, answers); code != exitDone {
			return code
		}
	}
	return m.Status
}
