package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
	if args := s.config.Pause.Command; len(args) > 0 {
		if status, err := findCommand(args[0]); err != nil {
			s.say("%v: nothing was paused", err)
			return status
		}
	}
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
		case switchover.Say:
			r.say("%s: %s", r.instances[o.Instance].name, o.Text)
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
