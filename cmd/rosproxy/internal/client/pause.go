package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/client/switchover"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// Times of a pause. Package switchover says what they are for.
const (
	pausePoll     = 200 * time.Millisecond
	pauseSilence  = 3 * time.Second
	pauseGive     = 15 * time.Second // longer than an upgrade may hold up an answer
	pauseQuestion = 3 * time.Second  // for one answer
)

// pauseRun is one run of the command pause: what package switchover orders is
// done here.
type pauseRun struct {
	*session
	label string
	by    string // who pauses: nobody else has this name

	machine switchover.Machine
	began   time.Time
	events  chan switchover.Event
	asking  sync.WaitGroup
	command *runningCommand // nil: it has not started
	signal  os.Signal       // that came last

	mu     sync.Mutex
	states []*api.PauseState // by instance, as each answered last; nil: it has not
}

// pauseLabel pauses a label at all instances, runs a command when all are quiet, and
// resumes. Without a command they stay paused.
func pauseLabel(ctx context.Context, s *session) int {
	label, ok := pausableLabel(ctx, s)
	if !ok {
		return exitNotDone
	}
	r := &pauseRun{
		session: s, label: label, by: pauserName(), began: time.Now(), states: make([]*api.PauseState, len(s.instances)),
		events: make(chan switchover.Event, 2*len(s.instances)+2), // one for each that is asked, and the command's end
	}
	c := s.config.Pause
	r.machine = switchover.New(switchover.Config{
		For: c.For, Wait: c.Wait, Settle: c.Settle, Command: len(c.Command) > 0,
		Poll: pausePoll, Silence: pauseSilence, Give: pauseGive,
	}, len(s.instances))
	r.run(ctx)
	return r.report()
}

// pausableLabel is the label that is meant, once all instances have answered that
// they have it: until then nothing is paused. It can be interrupted.
func pausableLabel(ctx context.Context, s *session) (label string, ok bool) {
	interruptible(func(ctx context.Context, s *session) int {
		label, ok = theLabel(ctx, s, s.config.Pause.Label)
		return exitDone
	})(ctx, s)
	return label, ok
}

// theLabel is the one that was named, or the only one of all instances.
func theLabel(ctx context.Context, s *session, named string) (label string, ok bool) {
	answers := askAll(ctx, s, func(ctx context.Context, i *instance) (state, error) { return i.state(ctx) })
	if s.failed {
		return "", false
	}
	label = named
	if label == "" {
		labels := labelsOf(answers)
		if len(labels) != 1 {
			s.say("--label is needed: there are %d labels", len(labels))
			return "", false
		}
		label = labels[0]
	}
	for _, a := range answers {
		if a.value.labels[label] == nil {
			s.fail(a.from, fmt.Errorf("it has no label %q", label))
		}
	}
	return label, !s.failed
}

// maxPauser bounds the name, as the instances do.
const maxPauser = 128

// pauserName is a name that nobody else has, and that tells people who it is.
func pauserName() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand, since Go 1.24
	host, _ := os.Hostname()
	who := strings.Trim(os.Getenv("USER")+"@"+host, "@")
	tail := fmt.Sprintf(":%d-%s", os.Getpid(), hex.EncodeToString(random[:]))
	return config.Printable(who, maxPauser-len(tail)) + tail
}

// run goes on until the machine orders the end, and nothing is under way any more.
func (r *pauseRun) run(ctx context.Context) {
	// What must be done at the end is done whatever ends ctx.
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer r.asking.Wait()
	defer stop()
	ended := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !r.step(asking, switchover.Event{Kind: switchover.Ticked}) {
		r.showProgress()
		timer.Reset(r.machine.Wake(r.now()) - r.now())
		var over bool
		select {
		case e := <-r.events:
			over = r.step(asking, e)
		case r.signal = <-r.signals:
			if r.signal == syscall.SIGUSR2 { // is for a proxy
				continue
			}
			over = r.step(asking, switchover.Event{Kind: switchover.Signalled})
		case <-ended:
			ended, r.signal = nil, syscall.SIGTERM
			over = r.step(asking, switchover.Event{Kind: switchover.Signalled})
		case <-timer.C:
		}
		if over {
			return
		}
	}
}

func (r *pauseRun) now() time.Duration { return time.Since(r.began) }

// step gives the machine an event, does what it orders, and reports whether that
// was the end.
func (r *pauseRun) step(ctx context.Context, e switchover.Event) (over bool) {
	var orders []switchover.Order
	r.machine, orders = r.machine.Step(e, r.now())
	for _, o := range orders {
		switch o.Kind {
		case switchover.Ask:
			r.asking.Go(func() { r.ask(ctx, o.Instance, o.Request) })
		case switchover.Start:
			r.start()
		case switchover.Forward:
			r.command.forward(r.signal)
		case switchover.Exit:
			over = true
		}
	}
	return over
}

// start starts the command.
func (r *pauseRun) start() {
	r.progress.end()
	_ = r.out.flush() // nothing is in it yet
	var err error
	if r.command, err = startCommand(r.config.Pause.Command, r.stdout, r.stderr); err != nil {
		r.say("%v", err)
	}
	r.asking.Go(func() {
		r.events <- switchover.Event{Kind: switchover.CommandEnded, Status: r.command.await()}
	})
}

// ask asks one instance, and gives its answer to run.
func (r *pauseRun) ask(ctx context.Context, n int, what switchover.Request) {
	ctx, cancel := context.WithTimeoutCause(ctx, pauseQuestion, fmt.Errorf("no answer within %v", pauseQuestion))
	defer cancel()
	reply, err := r.put(ctx, n, what)
	if err != nil {
		reply = switchover.Reply{Outcome: switchover.Failed, Why: err.Error()}
		if no, ok := errors.AsType[*refusal](err); ok && no.code/100 == 4 {
			reply.Outcome = switchover.Refused
		}
	}
	r.events <- switchover.Event{Kind: switchover.Answered, Instance: n, Reply: reply}
}

// put puts one question.
func (r *pauseRun) put(ctx context.Context, n int, what switchover.Request) (switchover.Reply, error) {
	i, c := r.instances[n], r.config.Pause
	query := url.Values{"label": {r.label}, "by": {r.by}}
	switch what {
	case switchover.Begin, switchover.Move:
		query.Set("for", c.For.String())
		if c.CloseQuiet {
			query.Set("close", "quiet")
		}
		if what == switchover.Move {
			query.Set("move", "true")
		}
		s, err := i.askPause(ctx, http.MethodPost, query)
		if err != nil {
			return switchover.Reply{}, err
		}
		return r.note(n, s, ""), nil
	case switchover.End:
		s, err := i.askPause(ctx, http.MethodDelete, query)
		if err != nil {
			return switchover.Reply{}, err
		}
		return r.note(n, s, ""), nil
	}
	var all []api.Paused
	if _, err := i.ask(ctx, http.MethodGet, "/pause", nil, &all); err != nil {
		return switchover.Reply{}, err
	}
	for _, p := range all {
		if p.Label == r.label && p.By == r.by {
			master := ""
			if p.Master != nil {
				master = *p.Master
			}
			return r.note(n, p.PauseState, master), nil
		}
	}
	return switchover.Reply{}, nil
}

// note keeps what instance n has answered, and gives it to the machine.
func (r *pauseRun) note(n int, s api.PauseState, master string) switchover.Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[n] = &s
	return switchover.Reply{Paused: s.Paused && s.By == r.by, Active: s.Active, Master: master}
}

// askPause puts a question that is answered by the state of one pause.
func (i *instance) askPause(ctx context.Context, method string, query url.Values) (s api.PauseState, err error) {
	if _, err = i.ask(ctx, method, "/pause", query, &s); err == nil && s.Label == "" {
		err = errForeign
	}
	return s, err
}

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
