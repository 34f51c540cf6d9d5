package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// backupEvery is how often a backup is written.
const backupEvery = 2 * time.Second

// backups are written to a file in one data centre, of the master in the other or
// in the same.
type backups struct {
	file    string
	process *process
}

// backUp starts to write backups here of the master of a place.
func (p *place) backUp(logs, file string, of *place) error {
	program := p.workers[0].program
	args := slices.Concat([]string{"backup", file, "--every", backupEvery.String(), "--consul-datacenter", of.name}, p.consul.flags)
	process, err := startProcess(logs, fmt.Sprintf("backup of %s in %s", of.name, p.name), p.consul.env, nil, program, args...)
	if err != nil {
		return err
	}
	p.backups = &backups{file: file, process: process}
	return nil
}

// backupFacts are what a backup says of itself.
type backupFacts struct {
	history string
	records int
	last    string
	taken   time.Time
}

// verify reads the backup as a restore would.
func (b *backups) verify(ctx context.Context, program string) (f backupFacts, err error) {
	out, err := exec.CommandContext(ctx, program, "verify", b.file).CombinedOutput()
	if err != nil {
		return f, fmt.Errorf("verify the backup: %w, %s", err, out)
	}
	return parseFacts(string(out))
}

// parseFacts reads `history=4be1 epoch=3 records=4211 last="c07 312" taken=...`.
func parseFacts(line string) (f backupFacts, err error) {
	history, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	f.history = strings.TrimPrefix(history, "history=")
	var epoch int
	if _, err := fmt.Sscanf(rest, "epoch=%d records=%d last=%q", &epoch, &f.records, &f.last); err != nil {
		return f, fmt.Errorf("read what the backup says, %q: %w", line, err)
	}
	_, taken, _ := strings.Cut(line, " taken=")
	if f.taken, err = time.Parse(time.RFC3339Nano, strings.TrimSpace(taken)); err != nil {
		return f, fmt.Errorf("read what the backup says, %q: %w", line, err)
	}
	return f, nil
}

// records is how many the worker has, by its own word; -1: it does not answer.
func (w *worker) records(ctx context.Context) int {
	n, err := strconv.Atoi(w.status(ctx)["records"])
	if err != nil {
		return -1
	}
	return n
}
