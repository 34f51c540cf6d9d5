package handover

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// beginAnswering starts a successor whose questions are answered.
func beginAnswering(t *testing.T, answer func([]byte) []byte) (s *Successor, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s, err = Start(Config{
		Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleEnv+"=serves"),
		Generation: 7, Sockets: []Socket{{Name: "the socket", File: file, Shared: true}}, Answer: answer,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-s.PID(), syscall.SIGKILL)
		s.CallOff()
	})
	return s, l.Addr().String()
}

func TestWhatWasCarriedLastIsThereBeforeTheSuccessorServes(t *testing.T) {
	s, address := beginAnswering(t, nil)
	for _, text := range []string{"first", "", "last \x00\xff"} {
		if err := s.Carry([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	takesOver(t, s)
	if got, want := ask(t, address, "carried"), strconv.Quote("last \x00\xff")+" true"; got != want {
		t.Errorf("carried: got %s; want %s", got, want)
	}
	if !s.HasCarried() {
		t.Error("HasCarried: got false; want true")
	}
}

func TestNothingCarriedIsNothing(t *testing.T) {
	s, address := beginAnswering(t, nil)
	takesOver(t, s)
	if got := ask(t, address, "carried"); got != `"" false` {
		t.Errorf("carried: got %s; want nothing", got)
	}
	if got := ask(t, address, "question"); !strings.HasSuffix(got, ErrTooOld.Error()+" false") {
		t.Errorf("question to one that takes none: got %s; want %v", got, ErrTooOld)
	}
}

func TestPredecessorAnswersQuestionsForAsLongAsItLives(t *testing.T) {
	s, address := beginAnswering(t, func(q []byte) []byte { return append([]byte("first: "), q...) })
	takesOver(t, s)
	for range 3 {
		if got := ask(t, address, "question"); got != `"first: from 7" <nil> false` {
			t.Errorf("question: got %s; want an answer of the first", got)
		}
	}
	if got, want := ask(t, address, "long question"), strconv.Itoa(1<<20+len("first: "))+" <nil>"; got != want {
		t.Errorf("long question: got %s; want %s", got, want)
	}
	s.conn.close() // as one does that was told to end
	if got := ask(t, address, "question"); got != `"" `+ErrNobody.Error()+" true" {
		t.Errorf("question to one that does not listen any more: got %s; want nobody, who lives", got)
	}
}

// TestGenerationBetweenAnswersAndThenTheOneBefore: the oldest is asked directly
// only when nobody else reads its answers.
func TestGenerationBetweenAnswersAndThenTheOneBefore(t *testing.T) {
	s, address := beginAnswering(t, func(q []byte) []byte { return append([]byte("first: "), q...) })
	takesOver(t, s)
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { defer close(watched); _, _ = s.AwaitDeath(ctx) }() // as who has handed over does
	defer func() { stop(); <-watched }()
	pid, _, _ := strings.Cut(ask(t, address, "hand over"), " ")
	between, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("hand over: got %q", pid)
	}
	defer ask(t, address, "die") // the last one is nobody's child that this test knows
	if got := ask(t, address, "question"); got != `"between: from 8" <nil> false` {
		t.Errorf("question: got %s; want an answer of the one between", got)
	}
	if err := syscall.Kill(between, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := soon(t); ; {
		got := ask(t, address, "question")
		if got == `"first: from 8" <nil> false` {
			break
		}
		if deadline.Err() != nil {
			t.Fatalf("question when the one between has ended: got %s; want an answer of the first", got)
		}
	}
}

func TestFrameThatIsTooLongIsNotSent(t *testing.T) {
	s, _ := beginAnswering(t, nil)
	if err := s.Carry(make([]byte, maxFrame+1)); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("got %v; want that it is too long", err)
	}
}
