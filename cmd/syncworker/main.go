// Command syncworker simulates one sync worker of a Realm Object Server
// cluster, for rosproxy's demo and trials.
//
// Workers of one label elect a master and a slave through Consul; the rest are
// spares. They register as ROS's workers do (service sync, tags role=... and
// label=...), and a record is acknowledged only when the slave has it. Nothing
// is kept on disk: a worker that was killed comes back empty, under its
// SYNC_ID, as a spare, and is filled by the master.
//
// Clients speak lines over TCP:
//
//	PUT <client> <n>   OK <n> <worker id> <epoch>, or ERR <why>
//	DUMP               RECORDS <count>, then one "<client> <n>" a line
//	STATUS             STATUS id=... role=... epoch=... records=... complete=... in-sync=<slave>
//
// A follower's connection begins with REPLICATE instead; see replica.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
)

// commandLine is what the program is to do.
type commandLine struct {
	Run    options       `cmd:"" default:"withargs" help:"Run a worker."`
	Backup backupOptions `cmd:"" help:"Write a backup of the master of a group."`
	Verify verifyOptions `cmd:"" help:"Read a backup as a restore would, and say how far it goes."`
}

// options are those of a worker.
type options struct {
	Label       string        `env:"SYNC_LABEL" default:"default" help:"Group of workers that elects one master."`
	ID          string        `env:"SYNC_ID" required:"" help:"Name of this worker in its group; keep it when the worker is redeployed."`
	Listen      string        `default:"127.0.0.1:7800" help:"Address to listen on; it is the one registered."`
	Service     string        `default:"sync" help:"Consul service to register."`
	ConsulAddr  string        `placeholder:"ADDR" help:"Consul's HTTP address (default: CONSUL_HTTP_ADDR, else CONSUL_HOST and CONSUL_PORT, else 127.0.0.1:8500)."`
	CheckTTL    time.Duration `name:"check-ttl" default:"2s" help:"A worker silent for this long has failed."`
	AloneAfter  time.Duration `default:"5s" help:"A master without a slave acknowledges alone when a record has waited this long; 0: never."`
	FenceReport string        `placeholder:"PREFIX" help:"A new master acknowledges nothing before every rosproxy that reports below this Consul KV prefix has let go of the old one (none)."`
	Restore     string        `placeholder:"FILE" help:"Begin the group with this backup, unless it has begun with one of the same history already."`
	RestoreOver string        `placeholder:"HISTORY" help:"The backup takes the place of a group of this history, once that has no master."`
	WarmSpare   bool          `help:"With --restore: wait for the backup, and begin anew with each newer one, until a client writes."`
	LogFormat   string        `enum:"json,console" default:"json" help:"json or console."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *options) Validate() error {
	switch {
	case o.RestoreOver != "" && !isWord(o.RestoreOver):
		return fmt.Errorf("--restore-over %q: want a history, as backup, verify and STATUS name it", o.RestoreOver)
	case o.Restore == "" && (o.RestoreOver != "" || o.WarmSpare):
		return errors.New("--restore-over and --warm-spare need --restore FILE")
	}
	for name, v := range map[string]string{"--label": o.Label, "--id": o.ID} {
		if !isWord(v) {
			return fmt.Errorf("%s %q: want 1 to %d letters, digits, '.', '_' or '-'", name, v, maxWord)
		}
	}
	if o.CheckTTL < 100*time.Millisecond {
		return fmt.Errorf("--check-ttl %v: want at least 100ms", o.CheckTTL)
	}
	if o.FenceReport != "" {
		if err := discovery.CheckReportPrefix(o.FenceReport); err != nil {
			return fmt.Errorf("--fence-report %q: %w", o.FenceReport, err)
		}
	}
	if o.AloneAfter < 0 {
		return fmt.Errorf("--alone-after %v: want 0 or more", o.AloneAfter)
	}
	return nil
}

func main() { os.Exit(command(os.Args[1:])) }

// command runs the program and answers its exit status.
func command(args []string) int {
	var line commandLine
	var chosen *kong.Context
	parser, err := kong.New(&line, kong.Name("syncworker"),
		kong.Description("A simulated sync worker: elects a master through Consul, replicates synchronously, is backed up and restored."))
	if err == nil {
		chosen, err = parser.Parse(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "syncworker:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// After the first signal the handler is gone, so that a second one ends at once.
	context.AfterFunc(ctx, stop)
	switch verb, _, _ := strings.Cut(chosen.Command(), " "); verb {
	case "backup":
		return line.Backup.run(ctx)
	case "verify":
		return line.Verify.run()
	default:
		return line.Run.run(ctx)
	}
}

// run runs a worker.
func (o options) run(ctx context.Context) int {
	log := newLogger(o.LogFormat).With().Str("label", o.Label).Str("id", o.ID).Logger()
	w, err := newWorker(o, log)
	if err == nil {
		err = w.run(ctx)
	}
	if err != nil {
		log.Error().Err(err).Msg("worker failed")
		return 1
	}
	return 0
}

func newLogger(format string) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	if format == "console" {
		return zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "15:04:05.000"}).With().Timestamp().Logger()
	}
	return zerolog.New(os.Stderr).With().Timestamp().Logger()
}

const maxWord = 64

// isWord reports whether s can stand in a line of the protocol, a key and a tag.
func isWord(s string) bool {
	if s == "" || len(s) > maxWord {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}) < 0
}
