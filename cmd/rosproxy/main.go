// Command rosproxy keeps clients connected to the one current master of a
// cluster, as Consul names it, and cuts them off from the old one the moment
// a new one is elected.
//
// It exits 0 after a drain, 1 when it failed at run time, and 2 when the
// command line or the environment is wrong.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 2) // room for the second one, which ends at once
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	// Without this a reader of stderr that went away would end the proxy with it.
	signal.Ignore(syscall.SIGPIPE)
	p := Program{
		Args:    os.Args[1:],
		Env:     os.Environ(),
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Signals: signals,
	}
	os.Exit(p.Run(context.Background()))
}
