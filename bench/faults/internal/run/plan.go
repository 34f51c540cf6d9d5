package run

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/consul"
)

// Plan is what is to happen in one round. It is made of the seed and the number
// of the round, and of nothing else.
type Plan struct {
	Number   int
	Kind     *Kind
	Instance int           // whom the fault hits, where it hits an instance
	Next     int           // the master that is elected: so many places behind the present one
	Order    string        // of the writes, for the labels that follow tags
	Way      string        // how the lock passes on
	Dwell    time.Duration // from the fault to the election
	Gap      time.Duration // between the writes of an election
	Coin     bool          // for what has two forms
	Flaps    []int         // of flapping: who is elected on the way
}

// In which order an election is written by tags.
const (
	OldFirst = "old first"
	NewFirst = "new first"
	OneWrite = "one write"
)

func (p Plan) String() string {
	return fmt.Sprintf("round %d: %s; instance %s; master %d on; tags: %s; lock: %s; election after %v, gap %v, coin %t",
		p.Number, p.Kind.Name, instanceNames[p.Instance], p.Next, p.Order, p.Way, p.Dwell, p.Gap, p.Coin)
}

// Planner makes the plans of a run.
type Planner struct {
	seed  uint64
	kinds []*Kind
}

// Plan makes that of a round. Each kind comes once before any comes again.
func (p Planner) Plan(number int) Plan {
	cycle, place := number/len(p.kinds), number%len(p.kinds)
	order := rand.New(rand.NewPCG(p.seed, uint64(cycle))).Perm(len(p.kinds))
	r := rand.New(rand.NewPCG(p.seed, 1<<32+uint64(number)))
	plan := Plan{
		Number: number, Kind: p.kinds[order[place]],
		Instance: r.IntN(len(instanceNames)), Next: 1 + r.IntN(2),
		Order: pick(r, OldFirst, NewFirst, OneWrite), Way: pick(r, consul.Release, consul.Destroy, consul.AtOnce),
		Dwell: time.Duration(200+r.IntN(1300)) * time.Millisecond, Gap: time.Duration(r.IntN(400)) * time.Millisecond,
		Coin: r.IntN(2) == 0,
	}
	for range 2 + r.IntN(4) {
		plan.Flaps = append(plan.Flaps, r.IntN(3))
	}
	return plan
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
