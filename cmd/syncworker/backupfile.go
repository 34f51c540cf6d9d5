package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A backup file is
//
//	syncworker backup 1
//	{"history":"...","epoch":3,"records":4211,"last":"c07 312","taken":"..."}
//	<the records, one "<client> <n>" a line, compressed with gzip>
//	sha256 <of all bytes before this line>
//
// The check comes last and covers the file to its last byte but itself, so that
// a file that was cut short, or goes on, or has changed anywhere, is none.
const (
	backupMagic   = "syncworker backup "
	backupVersion = "1"
	sumMark       = "sha256 "
	sumLength     = len(sumMark) + 2*sha256.Size + 1
	maxHeader     = 1 << 10 // of each of the first two lines
	maxRecords    = 1 << 25 // that a backup may have

	// deflate makes at most so many bytes out of one, and a record is at least
	// as long as "c 1\n": a small file cannot claim many records.
	maxInflation = 1032
	minRecord    = 4
)

// backupHeader is what a backup says of itself.
type backupHeader struct {
	point
	Last  string    `json:"last,omitempty"` // the record that it goes up to; empty: there is none
	Taken time.Time `json:"taken"`          // when the master was asked: what it had acknowledged by then is in it
}

// backup is a decoded backup.
type backup struct {
	backupHeader
	log []record
}

// newBackup is the backup of a master's log up to the point p. It refuses what
// could not be restored.
func newBackup(p point, log []record, taken time.Time) (*backup, error) {
	b := &backup{backupHeader{point: p, Taken: taken.UTC()}, log}
	if len(log) > 0 {
		b.Last = lastRecord(log)
	}
	return b, b.check()
}

func lastRecord(log []record) string {
	return strings.TrimSuffix(string(appendRecord(nil, log[len(log)-1])), "\n")
}

// check says what is wrong with the content of b.
func (b *backup) check() error {
	if err := b.backupHeader.check(); err != nil {
		return err
	}
	if len(b.log) != b.Records {
		return fmt.Errorf("%d records; want %d", len(b.log), b.Records)
	}
	at := make(map[record]int, len(b.log))
	for i, r := range b.log {
		if first, twice := at[r]; twice {
			return fmt.Errorf("record %d, %s %d, is record %d again", i+1, r.client, r.n, first)
		}
		at[r] = i + 1
	}
	if len(b.log) > 0 && b.Last != lastRecord(b.log) {
		return fmt.Errorf("the last record is %q; want %q", lastRecord(b.log), b.Last)
	}
	return nil
}

func (h backupHeader) check() error {
	switch {
	case !isWord(h.History):
		return fmt.Errorf("history %q: want 1 to %d letters, digits, '.', '_' or '-'", h.History, maxWord)
	case h.Epoch == 0:
		return errors.New("epoch 0: want 1 or more")
	case h.Records < 0 || h.Records > maxRecords:
		return fmt.Errorf("%d records: want 0 to %d", h.Records, maxRecords)
	case (h.Records == 0) != (h.Last == ""):
		return fmt.Errorf("%d records, of which the last is %q", h.Records, h.Last)
	}
	return nil
}

// encode writes the file.
func (b *backup) encode(w io.Writer) error {
	header, err := json.Marshal(b.backupHeader)
	if err != nil {
		return err
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), bufSize)
	fmt.Fprintf(out, "%s%s\n%s\n", backupMagic, backupVersion, header) //nolint:errcheck // seen again by the flush
	packed := gzip.NewWriter(out)
	var line []byte
	for _, r := range b.log {
		line = appendRecord(line[:0], r)
		if _, err := packed.Write(line); err != nil {
			return err
		}
	}
	if err := errors.Join(packed.Close(), out.Flush()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%x\n", sumMark, sum.Sum(nil))
	return err
}

// decodeHeader reads what the file says of itself, up to where the records begin.
// Only decode knows whether it is true.
func decodeHeader(in *bufio.Reader) (h backupHeader, err error) {
	line, err := headerLine(in)
	version, ok := strings.CutPrefix(line, backupMagic)
	switch {
	case err != nil && err != io.EOF:
		return h, err
	case !ok:
		return h, errNoBackup
	case version != backupVersion:
		return h, fmt.Errorf("version %.20q: want %s", version, backupVersion)
	}
	if line, err = headerLine(in); err != nil {
		return h, fmt.Errorf("read its header: %w", noEOF(err))
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, fmt.Errorf("read its header: %w", noEOF(err))
	}
	if d.InputOffset() != int64(len(line)) {
		return h, errors.New("read its header: there is more than one")
	}
	return h, h.check()
}

var errNoBackup = fmt.Errorf("it does not begin with %q: no backup", backupMagic)

func headerLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if len(line) > maxHeader || errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("a line of its header is longer than %d bytes", maxHeader)
	}
	return strings.TrimSuffix(string(line), "\n"), err
}

// decode reads a whole backup of size bytes, and refuses a damaged one.
func decode(r io.ReaderAt, size int64) (*backup, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), bufSize)
	h, err := decodeHeader(in)
	if err != nil {
		if sumErr := checkSum(r, size); sumErr != nil && !errors.Is(err, errNoBackup) {
			return nil, errors.Join(err, sumErr)
		}
		return nil, err
	}
	if err := checkSum(r, size); err != nil {
		return nil, err
	}
	if claim := int64(h.Records) * minRecord; claim > size*maxInflation {
		return nil, fmt.Errorf("it claims %d records, more than its %d bytes can hold", h.Records, size)
	}
	b := &backup{backupHeader: h}
	if b.log, err = decodeRecords(in, h.Records); err != nil {
		return nil, err
	}
	if rest, err := io.Copy(io.Discard, in); err != nil || rest != int64(sumLength) {
		return nil, fmt.Errorf("%d bytes are between its records and its check; want none", rest-int64(sumLength))
	}
	return b, b.check()
}

// decodeRecords reads count records, and wants the end of the compressed part behind them.
func decodeRecords(in *bufio.Reader, count int) ([]record, error) {
	packed, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("unpack its records: %w", noEOF(err))
	}
	packed.Multistream(false)
	lines := bufio.NewReaderSize(packed, bufSize)
	var log []record
	for len(log) < count {
		r, err := readRecord(lines)
		if err != nil {
			return nil, fmt.Errorf("unpack record %d of %d: %w", len(log)+1, count, noEOF(err))
		}
		log = append(log, r)
	}
	if _, err := lines.ReadByte(); err == nil {
		return nil, fmt.Errorf("it holds more than the %d records that it claims", count)
	} else if err != io.EOF {
		return nil, fmt.Errorf("unpack its records: %w", err)
	}
	return log, nil
}

// checkSum compares the file with the check at its end.
func checkSum(r io.ReaderAt, size int64) error {
	body := size - int64(sumLength)
	if body < 0 {
		return errors.New("it ends before its check: it was cut short")
	}
	mark := make([]byte, sumLength)
	if _, err := r.ReadAt(mark, body); err != nil && err != io.EOF {
		return fmt.Errorf("read its check: %w", err)
	}
	want, ok := bytes.CutPrefix(bytes.TrimSuffix(mark, []byte("\n")), []byte(sumMark))
	if !ok || mark[sumLength-1] != '\n' {
		return errors.New("it does not end with its check: it was cut short, or goes on behind it")
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, body)); err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != string(want) {
		return fmt.Errorf("its bytes have changed: sha256 %s, and the file says %.80q", got, want)
	}
	return nil
}

// noEOF makes an end that came too early an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
