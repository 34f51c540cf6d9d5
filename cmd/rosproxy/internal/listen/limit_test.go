package listen

import (
	"net"
	"testing"
)

func TestLimitListenerWaitsForASlot(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limitListener{Listener: inner, slots: make(chan struct{}, 1), closed: make(chan struct{})}
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Fatal("accepted a second connection; want it to wait")
	default:
	}
	first.Close()
	first.Close() // gives back no second slot
	second := <-accepted
	if got := len(l.slots); got != 1 {
		t.Errorf("got %d slots taken; want 1", got)
	}
	l.Close() // with all slots taken
	<-ended
	second.Close()
}
