package proxy

import (
	"testing"
	"time"
)

// at is a moment of these tests, whose clock begins at a second: 0 is no time.
func at(d time.Duration) int64 { return int64(time.Second + d) }

// TestWhoIsDead has the sequences that were seen in TCP_INFO of real sockets.
func TestWhoIsDead(t *testing.T) {
	const timeout = 30 * time.Second
	type seen struct {
		at         time.Duration
		queued     int
		lastACK    time.Duration
		unanswered int
		want       peerState
		resumed    time.Duration
		backoff    uint8
	}
	for _, c := range []struct {
		name string
		seen []seen
	}{
		{"cable pulled with bytes in flight", []seen{
			{at: 7500 * time.Millisecond, queued: 100, lastACK: 8 * time.Second, unanswered: 5, want: peerOwed},
			{at: 15 * time.Second, queued: 100, lastACK: 15500 * time.Millisecond, unanswered: 6, want: peerOwed},
			{at: 29 * time.Second, queued: 100, lastACK: 29500 * time.Millisecond, unanswered: 7, want: peerOwed},
			{at: 30 * time.Second, queued: 100, lastACK: 30500 * time.Millisecond, unanswered: 7, want: peerDead},
		}},
		{"an hour of silence before the first byte counts for nothing", []seen{
			{at: 7500 * time.Millisecond, queued: 1, lastACK: time.Hour, unanswered: 5, want: peerOwed},
			{at: 29 * time.Second, queued: 1, lastACK: time.Hour, unanswered: 7, want: peerOwed},
			{at: 30 * time.Second, queued: 1, lastACK: time.Hour, unanswered: 7, want: peerDead},
		}},
		{"closed window whose probes are answered, two minutes apart", []seen{
			{at: 30 * time.Second, queued: 4 << 20, lastACK: 12 * time.Second, unanswered: 0, want: peerOwed},
			{at: 100 * time.Second, queued: 4 << 20, lastACK: 60 * time.Second, unanswered: 0, want: peerOwed},
			{at: 200 * time.Second, queued: 4 << 20, lastACK: 119 * time.Second, unanswered: 0, want: peerOwed},
			{at: time.Hour, queued: 4 << 20, lastACK: 120 * time.Second, unanswered: 0, want: peerOwed},
		}},
		{"closed window, and a probe is on its way just now", []seen{
			{at: 100 * time.Second, queued: 4 << 20, lastACK: 60 * time.Second, unanswered: 1, want: peerOwed},
			{at: 200 * time.Second, queued: 4 << 20, lastACK: 120 * time.Second, unanswered: 1, want: peerOwed},
		}},
		{"closed window, one probe lost and the next one on its way just now", []seen{
			{at: 240 * time.Second, queued: 4 << 20, lastACK: 239 * time.Second, unanswered: 2, want: peerOwed},
			{at: 241 * time.Second, queued: 4 << 20, lastACK: 990 * time.Millisecond, unanswered: 0, want: peerOwed},
		}},
		{"closed window, then the cable pulled", []seen{
			{at: 60 * time.Second, queued: 4 << 20, lastACK: 2 * time.Second, unanswered: 0, want: peerOwed},
			{at: 70 * time.Second, queued: 4 << 20, lastACK: 12 * time.Second, unanswered: 2, want: peerOwed},
			{at: 87 * time.Second, queued: 4 << 20, lastACK: 29 * time.Second, unanswered: 5, want: peerOwed},
			{at: 88 * time.Second, queued: 4 << 20, lastACK: 30 * time.Second, unanswered: 5, want: peerDead},
		}},
		{"a loss that heals", []seen{
			{at: 15 * time.Second, queued: 100, lastACK: 15 * time.Second, unanswered: 6, want: peerOwed},
			{at: 29 * time.Second, queued: 100, lastACK: 29 * time.Second, unanswered: 7, want: peerOwed},
			{at: 31 * time.Second, queued: 100, lastACK: time.Second, unanswered: 0, want: peerOwed},
			{at: 60 * time.Second, queued: 100, lastACK: 29 * time.Second, unanswered: 7, want: peerOwed},
		}},
		{"slow, but everything is acknowledged now and then", []seen{
			{at: 20 * time.Second, queued: 100, lastACK: 20 * time.Second, unanswered: 6, want: peerOwed},
			{at: 29 * time.Second, queued: 0, lastACK: time.Second, unanswered: 0, want: peerIdle},
			{at: 40 * time.Second, queued: 100, lastACK: 12 * time.Second, unanswered: 6, want: peerOwed, resumed: 40 * time.Second},
			{at: 69 * time.Second, queued: 100, lastACK: 41 * time.Second, unanswered: 6, want: peerOwed},
			{at: 70 * time.Second, queued: 100, lastACK: 42 * time.Second, unanswered: 6, want: peerDead},
		}},
		{"shrunk window whose probes are answered, but not counted", []seen{
			{at: 30 * time.Second, queued: 100, lastACK: 2 * time.Second, want: peerOwed, backoff: 4},
			{at: 80 * time.Second, queued: 100, lastACK: 45 * time.Second, want: peerOwed, backoff: 5},
			{at: 160 * time.Second, queued: 100, lastACK: 75 * time.Second, want: peerOwed, backoff: 6},
			{at: time.Hour, queued: 100, lastACK: 110 * time.Second, want: peerOwed, backoff: 36},
		}},
		{"shrunk window, then the cable pulled", []seen{
			{at: 60 * time.Second, queued: 100, lastACK: 2 * time.Second, want: peerOwed, backoff: 255},
			{at: 75 * time.Second, queued: 100, lastACK: 17 * time.Second, want: peerOwed, backoff: 0},
			{at: 90 * time.Second, queued: 100, lastACK: 32 * time.Second, want: peerOwed, backoff: 1},
			{at: 125 * time.Second, queued: 100, lastACK: 67 * time.Second, want: peerOwed, backoff: 2},
			{at: 126 * time.Second, queued: 100, lastACK: 68 * time.Second, want: peerDead, backoff: 2},
		}},
		{"bytes that moved again just before the look", []seen{
			{at: 6 * time.Second, queued: 100, lastACK: 6 * time.Second, unanswered: 2, want: peerOwed, resumed: 5 * time.Second},
			{at: 34 * time.Second, queued: 100, lastACK: 34 * time.Second, unanswered: 7, want: peerOwed, resumed: 20 * time.Second},
			{at: 35 * time.Second, queued: 100, lastACK: 35 * time.Second, unanswered: 7, want: peerDead, resumed: 20 * time.Second},
		}},
		{"bytes that have not left this machine", []seen{
			{at: 100 * time.Second, queued: 100, lastACK: 100 * time.Second, unanswered: 0, want: peerOwed},
			{at: time.Hour, queued: 100, lastACK: time.Hour, unanswered: 0, want: peerOwed},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d detector
			d.begin(at(0))
			for _, s := range c.seen {
				l := sample{at: at(s.at), queued: s.queued, lastACK: s.lastACK, unanswered: s.unanswered, backoff: s.backoff}
				if s.resumed != 0 {
					l.resumed = at(s.resumed)
				}
				if got := d.judge(l, timeout); got != s.want {
					t.Fatalf("after %v, %v without an acknowledgement, %d unanswered: got %d; want %d", s.at, s.lastACK, s.unanswered, got, s.want)
				}
			}
		})
	}
}

func TestWithoutATimeoutNobodyIsDead(t *testing.T) {
	var d detector
	for i := range int64(100) {
		l := sample{at: at(time.Duration(i) * time.Hour), queued: 1, lastACK: time.Duration(i) * time.Hour, unanswered: int(i)}
		if got := d.judge(l, 0); got != peerOwed {
			t.Fatalf("sample %d: got %d; want %d", i, got, peerOwed)
		}
	}
}

// FuzzDetector runs a peer through a life of answers and silences that the input
// says, takes a sample when nextSample asks for it, and holds every verdict
// against what really happened.
func FuzzDetector(f *testing.F) {
	f.Add([]byte{30, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{4, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255})
	f.Add([]byte{121, 128, 130, 131, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 2 {
			return
		}
		timeout := time.Duration(script[0])*time.Second + time.Second
		counted := script[0]%2 == 0 // by the kernel; else only the backoff tells
		every := timeout / checksPerTimeout
		now := at(time.Hour)
		began, heard := now, at(0) // the peer was last heard long before
		var backoff uint8
		unanswered, doubtedFor := 0, int64(0)
		var d detector
		d.begin(now)
		for _, step := range script[1:] {
			s := sample{at: now, queued: 1, lastACK: time.Duration(now - heard), backoff: backoff}
			if counted {
				s.unanswered = unanswered
			}
			got := d.judge(s, timeout)
			silent := time.Duration(now - max(began, heard))
			switch {
			case got == peerIdle:
				t.Fatal("bytes are queued: got idle")
			case got == peerDead && silent < timeout:
				t.Fatalf("dead after a silence of %v; want %v", silent, timeout)
			case got == peerDead && unanswered < severalUnanswered:
				t.Fatalf("dead with %d unanswered; want %d", unanswered, severalUnanswered)
			case got == peerOwed && counted && silent >= timeout && doubtedFor >= int64(confirmAfter(timeout)):
				t.Fatalf("alive after a silence of %v, %v of it in doubt; want dead after %v", silent, time.Duration(doubtedFor), timeout)
			case got == peerDead:
				return
			}
			next := d.nextSample(s, timeout, every)
			if next <= now || next > now+int64(every) {
				t.Fatalf("next sample: got %v later; want more than 0 and at most %v", time.Duration(next-now), every)
			}
			if over := max(began, heard) + int64(timeout); next > over && over > now && d.doubted == 0 {
				t.Fatalf("next sample: got %v after the silence has lasted long enough; want it just then", time.Duration(next-over))
			}
			inDoubt := unanswered >= severalUnanswered
			// Until then an answer comes, with the top bit not set, after a part of
			// the time, as the other bits say, so that no two of them are closer
			// than two probes can be; else up to three probes have none.
			if step < 128 {
				heard = now + (next-now)*int64(32+step/2)/128
				unanswered, doubtedFor = 0, 0
				backoff++
			} else {
				unanswered += int(step & 3)
				backoff += step & 3
				if inDoubt {
					doubtedFor += next - now
				}
			}
			now = next
		}
	})
}
