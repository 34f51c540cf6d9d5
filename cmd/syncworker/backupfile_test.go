package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testBackup is a backup of so many records.
func testBackup(t testing.TB, records int) *backup {
	t.Helper()
	var log []record
	for n := range records {
		log = append(log, record{fmt.Sprintf("c%d", n%7), uint64(n)})
	}
	b, err := newBackup(point{History: "h", Epoch: 3, Records: records}, log, time.Unix(1000, 5))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encoded(t testing.TB, b *backup) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decodeBytes(file []byte) (*backup, error) {
	return decode(bytes.NewReader(file), int64(len(file)))
}

func TestBackupIsReadAsItWasWritten(t *testing.T) {
	for _, records := range []int{0, 1, 20000} {
		b := testBackup(t, records)
		got, err := decodeBytes(encoded(t, b))
		if err != nil {
			t.Errorf("%d records: %v", records, err)
		} else if !reflect.DeepEqual(got, b) {
			t.Errorf("%d records: got %+v; want %+v", records, got.backupHeader, b.backupHeader)
		}
	}
}

func TestBackupThatWasCutShortIsRefused(t *testing.T) {
	file := encoded(t, testBackup(t, 50))
	for size := range file {
		if _, err := decodeBytes(file[:size]); err == nil {
			t.Fatalf("%d of %d bytes were read as a backup; want them refused", size, len(file))
		}
	}
}

func TestBackupWithAnyBitFlippedIsRefused(t *testing.T) {
	file := encoded(t, testBackup(t, 50))
	for bit := range 8 * len(file) {
		file[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeBytes(file); err == nil {
			t.Fatalf("a backup with bit %d of byte %d flipped was read; want it refused", bit%8, bit/8)
		}
		file[bit/8] ^= 1 << (bit % 8)
	}
}

// sealed is a backup file of any content, with the check that belongs to it.
func sealed(parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return fmt.Appendf(body, "%s%x\n", sumMark, sha256.Sum256(body))
}

func packed(text string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write([]byte(text)) //nolint:errcheck // into memory
	w.Close()             //nolint:errcheck // as above
	return out.Bytes()
}

// TestDamagedBackupIsRefusedWithTheReason: also where its check is right.
func TestDamagedBackupIsRefusedWithTheReason(t *testing.T) {
	head := func(version, header string) []byte { return []byte(backupMagic + version + "\n" + header + "\n") }
	says := func(records int, last string) []byte {
		return head("1", fmt.Sprintf(`{"history":"h","epoch":3,"records":%d,"last":%q,"taken":"2026-01-01T00:00:00Z"}`, records, last))
	}
	good := encoded(t, testBackup(t, 3))
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                  {nil, "no backup"},
		"another file":           {[]byte("#!/bin/sh\n"), "no backup"},
		"one long line":          {bytes.Repeat([]byte("x"), 1<<20), "longer than"},
		"a later version":        {sealed(head("2", "?")), `version "2": want 1`},
		"without its end":        {good[:len(good)-1], "does not end with its check"},
		"goes on":                {append(bytes.Clone(good), '\n'), "does not end with its check"},
		"another one behind":     {append(bytes.Clone(good), good...), "its bytes have changed"},
		"a long header":          {sealed(head("1", strings.Repeat(" ", 2*maxHeader))), "longer than"},
		"header is no JSON":      {sealed(head("1", "{")), "read its header"},
		"two headers in a line":  {sealed(head("1", `{"history":"h","epoch":3,"records":0,"taken":"2026-01-01T00:00:00Z"}{}`)), "more than one"},
		"unknown field":          {sealed(head("1", `{"history":"h","epoch":3,"size":1}`)), "size"},
		"no history":             {sealed(head("1", `{"epoch":3}`)), "history"},
		"no epoch":               {sealed(head("1", `{"history":"h"}`)), "epoch 0"},
		"negative":               {sealed(says(-1, "c 1"), packed("")), "-1 records"},
		"absurd":                 {sealed(says(1<<60, "c 1"), packed("c 1\n")), "records: want 0 to"},
		"more than its bytes":    {sealed(says(1<<24, "c 1"), packed("c 1\n")), "more than its"},
		"fewer than it claims":   {sealed(says(2, "c 1"), packed("c 1\n")), "record 2 of 2"},
		"more than it claims":    {sealed(says(1, "c 1"), packed("c 1\nc 2\n")), "more than the 1"},
		"cut within a record":    {sealed(says(1, "c 1"), packed("c 1")), "record 1 of 1"},
		"a record twice":         {sealed(says(2, "c 1"), packed("c 1\nc 1\n")), "is record 1 again"},
		"ends at another record": {sealed(says(1, "c 2"), packed("c 1\n")), "the last record"},
		"none, and a last one":   {sealed(says(0, "c 2"), packed("")), "of which the last"},
		"garbage for a record":   {sealed(says(1, "c 1"), packed("c/1\n")), "parse record"},
		"not packed":             {sealed(says(1, "c 1"), []byte("c 1\n")), "unpack its records"},
		"cut while packed":       {sealed(says(1, "c 1"), packed("c 1\n")[:20]), "unpack"},
		"something in between":   {sealed(says(1, "c 1"), packed("c 1\n"), []byte("x")), "1 bytes are between"},
		"packed twice":           {sealed(says(1, "c 1"), packed("c 1\n"), packed("c 2\n")), "between its records and its check"},
		"a line without end":     {sealed(says(1, "c 1"), packed(strings.Repeat("x", 1<<22))), "line longer than"},
	} {
		if b, err := decodeBytes(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, error %v; want one with %q", name, b, err, c.want)
		}
	}
}

// FuzzBackup: no file makes the reader fail, and what it takes for a backup is one.
// Each input is also tried with the right check.
func FuzzBackup(f *testing.F) {
	for _, records := range []int{0, 3, 200} {
		file := encoded(f, testBackup(f, records))
		f.Add(file)
		f.Add(file[:len(file)-sumLength])
		f.Add(append(file, "garbage"...))
	}
	f.Add(sealed([]byte(backupMagic+"1\n"+`{"history":"h","epoch":1,"records":33554432,"last":"c 1"}`+"\n"), packed("c 1\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, sealed(data)} {
			b, err := decodeBytes(file)
			if err != nil {
				continue
			}
			again, err := decodeBytes(encoded(t, b))
			if err != nil || !reflect.DeepEqual(again.log, b.log) || again.point != b.point {
				t.Fatalf("written again it is %v, error %v; want %v", again, err, b)
			}
		}
	})
}
