package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// report prints one line a finding.
type report struct {
	out    io.Writer
	failed bool
}

func (r *report) ok(format string, args ...any)   { r.line("ok  ", format, args...) }
func (r *report) warn(format string, args ...any) { r.line("warn", format, args...) }

func (r *report) fail(format string, args ...any) {
	r.failed = true
	r.line("FAIL", format, args...)
}

func (r *report) line(grade, format string, args ...any) {
	fmt.Fprintln(r.out, grade, oneLine(fmt.Sprintf(format, args...)))
}

// check prints what it finds out about a valid configuration and the machine,
// and answers the exit code: exitFailed when something would not work. It
// opens no listener.
func check(ctx context.Context, c Config, source masterSource, out io.Writer) int {
	r := &report{out: out}
	checkConfig(r, c)
	checkDescriptors(r, c)
	checkKernel(r)
	checkAddresses(ctx, r, c)
	checkMasters(ctx, r, c, source)
	if r.failed {
		return exitFailed
	}
	return exitOK
}

func checkConfig(r *report, c Config) {
	var labels []string
	for _, l := range c.Proxy.Listeners {
		labels = append(labels, l.Label)
	}
	r.ok("configuration: listeners %s", strings.Join(labels, ", "))
	for _, w := range c.Warnings {
		r.warn("configuration: %s", w)
	}
	if c.Admin.TokenFile == "" {
		return
	}
	switch info, err := os.Stat(c.Admin.TokenFile); {
	case err != nil:
		r.fail("token file: %v", err)
	case info.Mode().Perm()&0o007 != 0:
		r.warn("token file %s: everybody on this machine has access to it (mode %#o)", c.Admin.TokenFile, info.Mode().Perm())
	default:
		r.ok("token file %s", c.Admin.TokenFile)
	}
}
