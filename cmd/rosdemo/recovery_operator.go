package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// operate runs a command of rosproxy as an operator in a place does, shows what it
// says, and answers its exit status.
func (r *recovery) operate(ctx context.Context, p *place, args ...string) (status int, err error) {
	r.scr.print("            " + r.scr.paint(bold, "$ rosproxy "+strings.Join(args, " ")))
	flags := p.consul.flags
	if args[0] == "datacenter" {
		flags = slices.Concat(flags, datacenterFlags)
	} else {
		flags = nil
	}
	cmd := exec.CommandContext(ctx, r.program, slices.Concat(args, flags)...)
	cmd.Env = p.consul.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	began := time.Now()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			r.scr.event(time.Since(began), "%s", lines.Text())
		}
		io.Copy(io.Discard, out) //nolint:errcheck // after a line too long
	}()
	err = cmd.Run()
	in.Close() //nolint:errcheck // a pipe's end in memory
	<-shown
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return 0, fmt.Errorf("run rosproxy %s: %w", args[0], err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// activate makes p the active data centre, and waits until it serves.
func (r *recovery) activate(ctx context.Context, p *place, flags ...string) error {
	r.book.expect(p.name)
	began := time.Now()
	status, err := r.operate(ctx, p, slices.Concat([]string{"datacenter", "activate", p.name}, flags)...)
	if err == nil && status != 0 {
		err = fmt.Errorf("activate %s: exit status %d", p.name, status)
	}
	if err != nil {
		return err
	}
	var since time.Time
	err = r.await(ctx, p.name+"'s first acknowledgement", func() bool {
		var active string
		active, since = r.book.activeSince()
		return active == p.name
	})
	if err != nil {
		return err
	}
	r.scr.event(since.Sub(began), "%s first record acknowledged by %s", r.scr.paint(bold, "served"), p.name)
	return r.await(ctx, "every client to be connected again", r.allConnected)
}
