// Package check judges a configuration and the machine before a run.
package check

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
)

// report prints one line a finding.
type report struct {
	out    io.Writer
	ended  <-chan struct{} // when it is closed, what is found is that the check was called off
	failed bool
}

func (r *report) ok(format string, args ...any)   { r.line("ok  ", format, args...) }
func (r *report) warn(format string, args ...any) { r.line("warn", format, args...) }

func (r *report) fail(format string, args ...any) {
	r.failed = true
	r.line("FAIL", format, args...)
}

func (r *report) line(grade, format string, args ...any) {
	select {
	case <-r.ended:
		return
	default:
	}
	fmt.Fprintln(r.out, grade, config.OneLine(fmt.Sprintf(format, args...)))
}

// Run prints to out what it finds out about a valid configuration and the
// machine, and reports whether all of it would work. It opens no listener. When
// ctx ends, it prints the cause and nothing more, and what it has not looked at does not work.
func Run(ctx context.Context, c config.Config, source discovery.Source, out io.Writer) (ok bool) {
	r := &report{out: out, ended: ctx.Done()}
	checkConfig(r, c)
	checkPorts(r, checkDescriptors(r, c))
	checkKernel(r)
	checkCongestion(r, c)
	checkHook(ctx, r, c)
	checkAddresses(ctx, r, c)
	checkMasters(ctx, r, c, source)
	if err := context.Cause(ctx); err != nil {
		fmt.Fprintln(out, "FAIL", err)
		return false
	}
	return !r.failed
}

func checkConfig(r *report, c config.Config) {
	listListeners(r, c)
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
