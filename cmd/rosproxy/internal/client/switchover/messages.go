package switchover

// Request is what an instance is asked.
type Request uint8

// The requests.
const (
	None  Request = iota
	Begin         // pause, or go on pausing
	Move          // move the end of the pause that there is
	Look          // how it goes
	End           // resume
)

func (r Request) String() string { return [...]string{"none", "begin", "move", "look", "end"}[r] }

// Outcome is what has become of a request.
type Outcome uint8

// The outcomes.
const (
	Done    Outcome = iota
	Refused         // and will be again
	Failed          // it is not known whether it was done
)

// Reply is an instance's answer, or why there is none.
type Reply struct {
	Outcome Outcome
	Why     string // unless Done
	Paused  bool   // to Look: by this command
	Active  int    // live connections
	Master  string // named by a consistent read that began after the pause; empty: none yet. To a Move that is refused: of now; empty: not known, or its clients are held
}

// Event is what has happened.
type Event struct {
	Kind     EventKind
	Instance int   // with Answered
	Reply    Reply // with Answered
	Status   int   // with CommandEnded
}

// EventKind is the kind of an Event.
type EventKind uint8

// The kinds of events.
const (
	Ticked EventKind = iota // it is later: Wake
	Answered
	Signalled
	CommandEnded
)

// Order is what is to be done.
type Order struct {
	Kind     OrderKind
	Instance int     // with Ask and Say
	Request  Request // with Ask
	Text     string  // with Say
}

// OrderKind is the kind of an Order.
type OrderKind uint8

// The kinds of orders.
const (
	Ask     OrderKind = iota
	Start             // the command
	Forward           // the signal, to the command
	Say               // the text, of the instance, to the operator
	Exit              // with Machine.Status: nothing more will come
)
