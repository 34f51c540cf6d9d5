package proxy

import (
	"math"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// TestSlotThatComesBackWhileAShardFindsNoneIsSeen: between its look and its
// word that it waits another shard's last connection ends, which wakes nobody.
func TestSlotThatComesBackWhileAShardFindsNoneIsSeen(t *testing.T) {
	var p *Proxy
	p, address := runningWithLog(t, Config{Shards: 1, MaxConns: 1}, echo(t), zerolog.New(logLines(func(line string) {
		if strings.Contains(line, acceptingPaused) {
			p.slots.give()
		}
	})))
	if !p.slots.take() { // as the other shard had
		t.Fatal("there is no slot")
	}
	roundTrip(t, dialed(t, address), []byte("x"))
}

// TestConnectionThatEndsEndsAShortage: what it gives back may be what was short,
// and its clients do not wait for the next try.
func TestConnectionThatEndsEndsAShortage(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	first := dialed(t, address)
	roundTrip(t, first, []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.shortage = unix.EMFILE
		s.noteShortage()
		s.retryAt = math.MaxInt64
	})
	waits := dialed(t, address)
	if _, err := waits.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := p.Snapshot().Labels[0].Accepted; got != 1 {
		t.Errorf("accepted during a shortage: got %d; want only the 1 of before", got)
	}
	first.Close()
	roundTrip(t, waits, []byte("x"))
}
