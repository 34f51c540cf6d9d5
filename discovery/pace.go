package discovery

import (
	"math/rand/v2"
	"time"
)

// backoff spaces the retries of one long poll: each pause is random between
// nothing and a ceiling, which doubles from first to most.
type backoff struct {
	first, most time.Duration
	fails       int
}

// next answers the next pause.
func (b *backoff) next() time.Duration {
	ceiling := b.most
	if b.fails < 16 {
		ceiling = min(b.first<<b.fails, b.most)
	}
	b.fails++
	return rand.N(ceiling + 1)
}

// reset makes the next pause a first one.
func (b *backoff) reset() { b.fails = 0 }

// about answers d, a quarter more or less, so that the instances of a tier do
// not ask in step.
func about(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}

// signal leaves a wish in c, which holds one at most: it is wished already if
// there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
