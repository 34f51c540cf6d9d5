package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// backupIdle is how long a master may send nothing. It is longer than rosproxy
// holds a connection for which there is no master.
const backupIdle = 15 * time.Second

// backupOptions are those of `syncworker backup`.
type backupOptions struct {
	File             string        `arg:"" help:"Where the backup goes; a newer one takes the place of an older one."`
	From             string        `placeholder:"HOST:PORT" help:"The master, or a rosproxy in front of it (the master that Consul names)."`
	Every            time.Duration `help:"Write one so often, until told to stop (one alone)."`
	Label            string        `env:"SYNC_LABEL" default:"default" help:"Group of the master."`
	Service          string        `default:"sync" help:"Its Consul service."`
	ConsulAddr       string        `placeholder:"ADDR" help:"Consul's HTTP address, as for a worker."`
	ConsulDatacenter string        `placeholder:"DC" help:"Data centre of the master (the agent's own)."`
	LogFormat        string        `enum:"json,console" default:"json" help:"json or console."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *backupOptions) Validate() error {
	if !isWord(o.Label) {
		return fmt.Errorf("--label %q: want 1 to %d letters, digits, '.', '_' or '-'", o.Label, maxWord)
	}
	if o.Every < 0 || o.Every > 0 && o.Every < 100*time.Millisecond {
		return fmt.Errorf("--every %v: want at least 100ms", o.Every)
	}
	if o.From != "" {
		if _, _, err := net.SplitHostPort(o.From); err != nil {
			return fmt.Errorf("--from %q: want HOST:PORT", o.From)
		}
	}
	return nil
}

// run writes one backup, or one after the other, and answers the exit status.
func (o backupOptions) run(ctx context.Context) int {
	log := newLogger(o.LogFormat).With().Str("label", o.Label).Str("file", o.File).Logger()
	s := &backupSource{from: o.From}
	if o.From == "" {
		client, err := newConsulClient(o.ConsulAddr, o.ConsulDatacenter)
		if err != nil {
			log.Error().Err(err).Msg("no backup")
			return 1
		}
		s.registry = &registry{client: client, service: o.Service, label: o.Label}
	}
	if o.Every > 0 {
		backUpEvery(ctx, o, s, log)
		return 0
	}
	if err := backUp(ctx, o.File, s, log); err != nil {
		log.Error().Err(err).Msg("no backup")
		return 1
	}
	return 0
}

// backUpEvery writes backups until ctx ends. Trouble is logged once.
func backUpEvery(ctx context.Context, o backupOptions, s *backupSource, log zerolog.Logger) {
	ticker := time.NewTicker(o.Every)
	defer ticker.Stop()
	for trouble := ""; ; {
		err := backUp(ctx, o.File, s, log)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			trouble = ""
		case err.Error() != trouble:
			trouble = err.Error()
			log.Warn().Err(err).Msg("no backup: trying again")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// backUp writes one backup.
func backUp(ctx context.Context, path string, s *backupSource, log zerolog.Logger) error {
	began := time.Now()
	b, err := s.take(ctx)
	if err != nil {
		return err
	}
	size, err := writeBackup(path, b)
	if err != nil {
		return err
	}
	log.Info().Str("history", b.History).Uint64("epoch", b.Epoch).Int("records", b.Records).Str("last", b.Last).
		Time("taken", b.Taken).Int64("bytes", size).Dur("took_ms", time.Since(began)).Msg("backup written")
	return nil
}

// backupSource is whose backups are written.
type backupSource struct {
	from     string    // HOST:PORT
	registry *registry // where from is empty
}

// take gets all that the master has, as a follower does that then leaves. It is
// consistent: the master's log up to one record.
func (s *backupSource) take(ctx context.Context) (*backup, error) {
	address, want, err := s.master(ctx)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: linkDialTimeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial master: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	taken := time.Now()
	if err := say(conn, fmt.Sprintf("REPLICATE backup %s spare\n", newIncarnation())); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(idleReader{conn}, bufSize)
	h, err := readCopyHead(in)
	switch {
	case err != nil:
		return nil, err
	case h.count > maxRecords:
		return nil, fmt.Errorf("master %s has %d records: want at most %d", address, h.count, maxRecords)
	case want.History != "" && (h.history != want.History || h.epoch < want.Epoch):
		return nil, fmt.Errorf("master %s is of history %s, epoch %d: Consul says %s, %d", address, h.history, h.epoch, want.History, want.Epoch)
	}
	log, err := readCopy(in, h)
	if err != nil {
		return nil, err
	}
	b, err := newBackup(point{History: h.history, Epoch: h.epoch, Records: h.count}, log, taken)
	if err != nil {
		return nil, fmt.Errorf("master %s sent what cannot be restored: %w", address, err)
	}
	return b, nil
}

// master is the address of the master, and the history and the least epoch that it must be of.
func (s *backupSource) master(ctx context.Context) (address string, want inSync, err error) {
	if s.from != "" {
		return s.from, inSync{}, nil
	}
	v, err := s.registry.read(ctx)
	if err != nil {
		return "", inSync{}, err
	}
	if v.master.session == "" || v.index == 0 {
		return "", inSync{}, fmt.Errorf("label %s has no master", s.registry.label)
	}
	return v.master.holder.Address, v.inSync, nil
}

// idleReader gives up on a connection that brings nothing for a while.
type idleReader struct{ conn net.Conn }

func (r idleReader) Read(p []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(backupIdle)); err != nil {
		return 0, err
	}
	return r.conn.Read(p)
}

// verifyOptions are those of `syncworker verify`.
type verifyOptions struct {
	File string `arg:"" help:"The backup."`
}

// run reads the backup, says how far it goes, and answers the exit status.
func (o verifyOptions) run() int {
	b, err := readBackup(o.File)
	if err != nil {
		fmt.Fprintln(os.Stderr, "syncworker:", err)
		return 1
	}
	fmt.Printf("history=%s epoch=%d records=%d last=%q taken=%s\n", b.History, b.Epoch, b.Records, b.Last, b.Taken.Format(time.RFC3339Nano))
	return 0
}
