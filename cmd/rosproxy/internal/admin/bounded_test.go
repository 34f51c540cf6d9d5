package admin

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// unread is what an answer is written to whose client does not read.
type unread struct {
	*httptest.ResponseRecorder
	brokenOff chan struct{}
}

func (u unread) SetWriteDeadline(time.Time) error {
	close(u.brokenOff)
	return nil
}

// TestAnswerHasTimeBeforeAnotherRequestBreaksItOff: of nine requests four are
// answered when four more get their turn; the ninth has waited for as long as
// those and finds four answers that have just begun.
func TestAnswerHasTimeBeforeAnotherRequestBreaksItOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served atomic.Int64
		b := newBounded(func(w http.ResponseWriter, _ *http.Request) {
			if served.Add(1) <= atATime {
				time.Sleep(slotWait * 9 / 10)
				return
			}
			begun := time.Now()
			<-w.(unread).brokenOff
			if took := time.Since(begun); took < slotWait {
				t.Errorf("got an answer broken off after %v; want %v at least", took, slotWait)
			}
		})
		codes := make(chan int, 2*atATime+1)
		for range cap(codes) {
			go func() {
				w := unread{httptest.NewRecorder(), make(chan struct{})}
				b.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
				codes <- w.Code
			}()
		}
		for range atATime {
			<-codes
		}
		if got := <-codes; got != http.StatusServiceUnavailable {
			t.Errorf("got %d for a request that found nothing to break off; want 503", got)
		}
		for range atATime {
			b.breakOffOldest()
			<-codes
		}
	})
}
