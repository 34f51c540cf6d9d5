package waiting

import (
	"math/rand/v2"
	"time"
)

// Backoff spaces retries: each pause is random between nothing and a ceiling, which
// doubles from First to Most.
type Backoff struct {
	First, Most time.Duration
	fails       int
}

// Next answers the next pause.
func (b *Backoff) Next() time.Duration {
	ceiling := b.Most
	if b.fails < 16 {
		ceiling = min(b.First<<b.fails, b.Most)
	}
	b.fails++
	return rand.N(ceiling + 1)
}

// Reset makes the next pause a first one.
func (b *Backoff) Reset() { b.fails = 0 }

// About answers d, a quarter more or less, so that the instances of a tier do
// not ask in step.
func About(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
