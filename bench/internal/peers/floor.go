package peers

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// The floors: of messages, and of streams.
var (
	//go:embed floor/floor.c
	floorSource []byte
	//go:embed floor/bulk.c
	bulkFloorSource []byte
	// What both include.
	//go:embed floor/sockets.h
	floorHeader []byte
)

func startFloor(o Options, routes []route) (*Proxy, error) {
	return compileAndStart(floorSource, o, routes)
}

func startBulkFloor(o Options, routes []route) (*Proxy, error) {
	return compileAndStart(bulkFloorSource, o, routes)
}

// compileAndStart compiles a floor and starts it.
func compileAndStart(text []byte, o Options, routes []route) (*Proxy, error) {
	to, err := netip.ParseAddrPort(routes[0].to)
	if err != nil {
		return nil, fmt.Errorf("address of the master: %w", err)
	}
	source, program := filepath.Join(o.Dir, "floor.c"), filepath.Join(o.Dir, "floor")
	if err := errors.Join(os.WriteFile(source, text, 0o644), os.WriteFile(filepath.Join(o.Dir, "sockets.h"), floorHeader, 0o644)); err != nil {
		return nil, err
	}
	if said, err := exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile: %w: %s", err, said)
	}
	at := routes[0].at
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "floor.log"), User: o.User}, program,
		at.Addr().String(), strconv.Itoa(int(at.Port())), to.Addr().String(), strconv.Itoa(int(to.Port())))
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process}, nil
}
