package check

import (
	"bytes"
	"context"
	"os/exec"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
)

// parseTime bounds how long the shell may take to read a command.
const parseTime = 5 * time.Second

// checkHook has the shell read the command of --on-failover, without running it.
func checkHook(ctx context.Context, r *report, c config.Config) {
	if c.OnFailover == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, parseTime)
	defer cancel()
	parse := exec.CommandContext(ctx, hook.Shell, "-n", "-c", c.OnFailover)
	said, err := parse.CombinedOutput()
	if err != nil {
		r.fail("on-failover: %v: %s", err, config.Printable(string(bytes.TrimSpace(said)), 512))
		return
	}
	r.ok("on-failover: the shell understands the command")
}
