package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxLine = 512     // longest line of the protocol, newline included
	bufSize = 1 << 16 // of a reader or writer of many lines
)

var errLongLine = fmt.Errorf("line longer than %d bytes", maxLine)

// readLine reads one line, without its end. r's buffer bounds its length.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine {
		return "", errLongLine
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// parseRecord reads "<client> <n>".
func parseRecord(s string) (record, error) {
	client, number, ok := strings.Cut(s, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || !isWord(client) {
		return record{}, fmt.Errorf("parse record %q: want <client> <n>", s)
	}
	return record{client: client, n: n}, nil
}

func appendRecord(b []byte, r record) []byte {
	b = append(b, r.client...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.n, 10)
	return append(b, '\n')
}
