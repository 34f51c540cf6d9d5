package peers

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// NaiveArg is what makes the binary the naive proxy when it is its first
// argument; the address to listen on and that of the master follow.
const NaiveArg = "naive"

func startNaive(o Options, routes []route) (*Proxy, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own binary: %w", err)
	}
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "naive.log"), User: o.User}, self, NaiveArg, routes[0].at.String(), routes[0].to)
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process}, nil
}

// RunNaive is the proxy that one writes in Go in an afternoon.
func RunNaive(listen, to string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	for {
		client, err := l.Accept()
		if err != nil { // out of descriptors: they come back
			log.Print(err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go serveNaively(client.(*net.TCPConn), to)
	}
}

func serveNaively(client *net.TCPConn, to string) {
	defer client.Close()
	c, err := net.Dial("tcp", to)
	if err != nil {
		log.Print(err)
		return
	}
	master := c.(*net.TCPConn)
	defer master.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyNaively(master, client)
	}()
	copyNaively(client, master)
	<-done
}

func copyNaively(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil { // both ends go down with one
		to.Close()
		from.Close()
		return
	}
	_ = to.CloseWrite()
}
