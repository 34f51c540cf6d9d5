package handover

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

// connected are the two ends of a connection, of which the second is asked by way of p.
func connected(t *testing.T, answer func([]byte) []byte) (p *Predecessor, asked *conn) {
	t.Helper()
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	p = &Predecessor{takesQuestions: true, process: -1}
	if p.conn, err = newConn(ours, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if asked, err = newConn(theirs, answer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asked.close)
	return p, asked
}

func TestLateAnswerIsNotTakenForThatToTheNextQuestion(t *testing.T) {
	began, proceed := make(chan struct{}), make(chan struct{})
	p, _ := connected(t, func(q []byte) []byte {
		if string(q) == "first" {
			close(began)
			<-proceed
		}
		return append([]byte("answer to "), q...)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if got, err := p.Ask(ctx, []byte("first")); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %q, %v; want nothing in time", got, err)
	}
	close(proceed)
	for deadline := soon(t); len(p.conn.answers) == 0 && deadline.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if got, err := p.Ask(soon(t), []byte("second")); err != nil || string(got) != "answer to second" {
		t.Errorf("got %q, %v; want the answer to the second", got, err)
	}
}

func TestFrameThatIsTooLongEndsTheConnection(t *testing.T) {
	p, asked := connected(t, nil)
	if _, err := p.conn.Write(binary.BigEndian.AppendUint32([]byte{messageCarry}, maxFrame+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.conn.Write(make([]byte, 4)); err != nil { // its number
		t.Fatal(err)
	}
	select {
	case <-asked.ended:
	case <-soon(t).Done():
		t.Error("got the connection read on; want it ended")
	}
}

func TestServingEndsWhenThisProcessClosesTheConnection(t *testing.T) {
	p, asked := connected(t, nil)
	go func() {
		<-asked.messages // that it serves
		p.Close()
	}()
	if err := p.Serving(soon(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v; want %v, not that it serves alone", err, net.ErrClosed)
	}
}

func TestOldestOfTooManyGenerationsAreNotHandedOn(t *testing.T) {
	p, _ := connected(t, nil)
	for i := range maxAncestors {
		older, _ := connected(t, nil)
		p.ancestors = append(p.ancestors, &ancestor{Conn: older.conn.Conn, takesQuestions: i == maxAncestors-1})
	}
	files, asks, err := p.earlier()
	defer closeAll(files)
	if err != nil || len(files) != maxAncestors || len(asks) != maxAncestors || asks[maxAncestors-1] {
		t.Errorf("got %d connections, %v; want %d, without that to the oldest", len(files), err, maxAncestors)
	}
}
