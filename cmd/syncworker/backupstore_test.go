package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func writeOK(t *testing.T, path string, b *backup) {
	t.Helper()
	if _, err := writeBackup(path, b); err != nil {
		t.Fatal(err)
	}
}

// wantAlone wants nothing in the directory but the file.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside %s: got %v, error %v; want nothing", path, entries, err)
	}
}

func TestReaderNeverSeesHalfABackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "red.backup")
	const steps, each = 60, 200
	writeOK(t, path, testBackup(t, 1))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for last := 0; ; {
				b, err := readBackup(path)
				if err != nil {
					t.Errorf("read while it is replaced: %v", err)
					return
				}
				if b.Records < last {
					t.Errorf("%d records after %d; want no older backup", b.Records, last)
				}
				last = b.Records
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for n := range steps {
		writeOK(t, path, testBackup(t, (n+1)*each))
	}
	close(done)
	wg.Wait()
	wantAlone(t, path)
}

// TestBackupDoesNotTakeThePlaceOfWhatIsWorthMore: of a newer one, of another
// history's, of no backup at all; but of an older and of a damaged one it does.
func TestBackupDoesNotTakeThePlaceOfWhatIsWorthMore(t *testing.T) {
	with := func(history string, epoch uint64, records int) *backup {
		b := testBackup(t, records)
		b.History, b.Epoch = history, epoch
		return b
	}
	for name, c := range map[string]struct {
		before []byte
		want   string // empty: it is replaced
	}{
		"fewer records":                   {encoded(t, with("h", 3, 49)), ""},
		"the same":                        {encoded(t, with("h", 3, 50)), ""},
		"more records, of an older epoch": {encoded(t, with("h", 2, 51)), ""},
		"a damaged one":                   {encoded(t, with("h", 3, 49))[:200], ""},
		"more records":                    {encoded(t, with("h", 3, 51)), "newer than"},
		"a newer epoch":                   {encoded(t, with("h", 4, 1)), "newer than"},
		"another history":                 {encoded(t, with("i", 1, 1)), "move it away"},
		"something else":                  {[]byte("root:x:0:0\n"), "no backup: it stays"},
		"an empty file":                   {nil, "no backup: it stays"},
	} {
		path := filepath.Join(t.TempDir(), "red.backup")
		if err := os.WriteFile(path, c.before, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := writeBackup(path, testBackup(t, 50))
		after, _ := os.ReadFile(path)
		switch {
		case c.want == "" && (err != nil || !bytes.Equal(after, encoded(t, testBackup(t, 50)))):
			t.Errorf("%s: got error %v; want it replaced", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v; want one with %q", name, err, c.want)
		case c.want != "" && !bytes.Equal(after, c.before):
			t.Errorf("%s: the file has changed; want it as it was", name)
		}
	}
}

func TestBackupThatCannotBeReadOrWrittenIsSaid(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "absent"), dir} {
		if _, err := readBackup(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("read %s: got %v; want an error that names it", path, err)
		}
	}
	if _, err := writeBackup(filepath.Join(dir, "absent", "red.backup"), testBackup(t, 1)); err == nil {
		t.Error("a backup in a directory that is not there was written; want an error")
	}
}

func TestWhatAKilledWriterLeftIsTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "red.backup")
	writeOK(t, path, testBackup(t, 10))
	if err := os.WriteFile(unfinished(path), bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := readBackup(path); err != nil || b.Records != 10 {
		t.Errorf("beside a half one got %v, %v; want the 10 records of before", b, err)
	}
	writeOK(t, path, testBackup(t, 20))
	wantAlone(t, path)
}
