package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// copyHead is the first line of a master's answer to REPLICATE.
type copyHead struct {
	epoch   uint64
	count   int
	history string
}

// readCopyHead reads it.
func readCopyHead(in *bufio.Reader) (h copyHead, err error) {
	line, err := readLine(in)
	if err != nil {
		return h, fmt.Errorf("read from master: %w", err)
	}
	if reason, refused := strings.CutPrefix(line, "ERR "); refused {
		return h, fmt.Errorf("master answered: %s", reason)
	}
	n, err := fmt.Sscanf(line, "COPY %d %d %s", &h.epoch, &h.count, &h.history)
	if err != nil || n != 3 || h.count < 0 || !isWord(h.history) {
		return h, fmt.Errorf("master answered %q", line)
	}
	return h, nil
}

// readCopy reads the records that belong to h.
func readCopy(in *bufio.Reader, h copyHead) ([]record, error) {
	var log []record
	for len(log) < h.count {
		rec, err := readRecord(in)
		if err != nil {
			return nil, fmt.Errorf("copy record %d of %d: %w", len(log)+1, h.count, err)
		}
		log = append(log, rec)
	}
	return log, nil
}

// say writes one line to the other end of a replication connection.
func say(conn net.Conn, line string) error {
	if err := conn.SetWriteDeadline(time.Now().Add(linkWriteTimeout)); err != nil {
		return fmt.Errorf("write to master: %w", err)
	}
	if _, err := conn.Write([]byte(line)); err != nil {
		return fmt.Errorf("write to master: %w", err)
	}
	return nil
}
