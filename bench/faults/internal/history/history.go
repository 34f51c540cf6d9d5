// Package history judges what the clients of one label were told.
package history

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Op is one request of a client. Times are since the start of the run.
type Op struct {
	Client       int
	Append       bool // else a read
	ID           string
	Call, Return time.Duration
	Known        bool // it was answered; else it may have been carried out, or may be yet
	Answer       Answer
}

// Answer is what a master said.
type Answer struct {
	Master string
	State
}

// State is that of a store: in which term it is, how much it has, and what it got last.
type State struct {
	Term, Count uint64
	Last        string
}

func (o Op) String() string {
	what := "read"
	if o.Append {
		what = "append"
	}
	return fmt.Sprintf("%s %s from %v to %v: %+v", what, o.ID, o.Call, o.Return, o.Answer)
}

// patience is how long the judgement may take.
const patience = 30 * time.Second

// Check reports what is wrong with the history of one label that began in a state.
// The entries are those of its store at the end, of which the first `known` were
// there before. A term never goes back: who has been answered by a master, and
// then asks, is not answered by one before it.
func Check(began State, ops []Op, entries []string, known int) []string {
	at := make(map[string]int, len(entries))
	var wrong []string
	for i, id := range entries {
		if _, twice := at[id]; twice {
			wrong = append(wrong, fmt.Sprintf("entry %s is in the store twice", id))
		}
		at[id] = i + 1
	}
	var judged []porcupine.Operation
	var lost []Op
	for _, o := range ops {
		p := porcupine.Operation{ClientId: o.Client, Input: o, Call: int64(o.Call), Output: o.Answer, Return: int64(o.Return)}
		switch {
		case o.Known && o.Append && at[o.ID] == 0:
			lost = append(lost, o)
		case o.Known:
		case !o.Append || at[o.ID] == 0 || at[o.ID] <= known:
			continue // it told nobody anything, and has done nothing
		default:
			p.Return = math.MaxInt64
		}
		judged = append(judged, p)
	}
	if len(lost) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d appends were acknowledged and are lost; the first: %v", len(lost), lost[0]))
	}
	switch porcupine.CheckOperationsTimeout(model(began), judged, patience) {
	case porcupine.Illegal:
		wrong = append(wrong, fmt.Sprintf("the history of %d requests is not linearizable%s", len(judged), stale(ops)))
	case porcupine.Unknown:
		wrong = append(wrong, fmt.Sprintf("the history of %d requests could not be judged in %v", len(judged), patience))
	}
	return wrong
}

// model is a store that only grows, whose term only rises.
func model(began State) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return began },
		Step: func(state, input, output any) (bool, any) {
			s, o, a := state.(State), input.(Op), output.(Answer)
			if o.Append {
				s.Count, s.Last = s.Count+1, o.ID
			}
			if !o.Known {
				return true, s
			}
			if a.Term < s.Term {
				return false, state
			}
			s.Term = a.Term
			return s == a.State, s
		},
	}
}

// stale names an answer of an earlier term that was asked for after one of a later
// term had come: what most often is wrong.
func stale(ops []Op) string {
	for _, late := range ops {
		for _, early := range ops {
			if late.Known && early.Known && late.Call > early.Return && late.Answer.Term < early.Answer.Term {
				return fmt.Sprintf(": %v, although before %v", late, early)
			}
		}
	}
	return ""
}
