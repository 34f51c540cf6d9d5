package admin

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// refusal is why a request is refused before it is looked at.
type refusal uint8

const (
	wrongToken  refusal = iota // or none
	foreignHost                // a name that is not known
	crossSite                  // a page of another site
	numRefusals
)

func (r refusal) String() string { return [numRefusals]string{"token", "host", "cross_site"}[r] }

// refusals counts refused requests, and logs them once in refusalEvery at most.
type refusals struct {
	log    zerolog.Logger
	counts [numRefusals]atomic.Uint64

	mu     sync.Mutex
	logged time.Time // of the last line
	since  uint64    // refused since then
}

const (
	refusalEvery = time.Second
	maxLogged    = 256 // bytes of what a peer has chosen
)

func (f *refusals) note(why refusal, err error, r *http.Request) {
	f.counts[why].Add(1)
	f.mu.Lock()
	f.since++
	n, now := f.since, time.Now()
	due := now.Sub(f.logged) >= refusalEvery
	if due {
		f.logged, f.since = now, 0
	}
	f.mu.Unlock()
	if due {
		f.log.Warn().Str("peer", peerOf(r)).Str("method", config.Trim(r.Method, maxLogged)).Str("path", config.Trim(r.URL.Path, maxLogged)).
			Str("error", config.Trim(err.Error(), maxLogged)).Uint64("refused", n).Msg("admin request refused")
	}
}
