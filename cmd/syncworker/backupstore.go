package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// readBackup reads the backup at path, and refuses a damaged one with the reason.
func readBackup(path string) (*backup, error) {
	f, err := openBackup(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	b, err := decode(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read backup %s: %w", path, err)
	}
	return b, nil
}

// readBackupHeader reads what the backup at path says of itself.
func readBackupHeader(path string) (h backupHeader, err error) {
	f, err := openBackup(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	if h, err = decodeHeader(bufio.NewReader(f)); err != nil {
		return h, fmt.Errorf("read backup %s: %w", path, err)
	}
	return h, nil
}

func openBackup(path string) (*os.File, error) {
	// A pipe would have no end, and to open one may take for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("read backup %s: it is no file", path)
	}
	return f, nil
}

// writeBackup puts b at path. Whoever opens path finds what was there before, or
// all of b, whenever this process is killed or the machine stops. It does not take
// the place of what is worth more: of a backup of another history, of a newer one,
// and of a file that is none.
func writeBackup(path string, b *backup) (size int64, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, fmt.Errorf("write backup: %w", err)
	}
	defer dir.Close()
	// One writes in a directory at a time: else two could find the same old
	// backup, and the older of theirs could come last.
	if err := flock(dir); err != nil {
		return 0, fmt.Errorf("write backup: lock %s: %w", dir.Name(), err)
	}
	if err := mayReplace(path, b); err != nil {
		return 0, fmt.Errorf("write backup: %w", err)
	}
	if size, err = replaceFile(path, b); err != nil {
		return 0, fmt.Errorf("write backup: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return 0, fmt.Errorf("write backup: %w", err)
	}
	return size, nil
}

func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}

// mayReplace says why b may not take the place of what is at path.
func mayReplace(path string, b *backup) error {
	before, err := readBackupHeader(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errNoBackup):
		return fmt.Errorf("%s is there and no backup: it stays", path)
	case err != nil:
		return nil // a damaged one is worth nothing
	case before.History != b.History:
		return fmt.Errorf("%s goes to %v, and this one to %v: move it away first, or write to another file", path, before.point, b.point)
	case before.newer(b.point):
		return fmt.Errorf("%s goes to %v, which is newer than %v: it stays", path, before.point, b.point)
	}
	return nil
}

// unfinished is where the backup at path is while it is written.
func unfinished(path string) string {
	dir, name := filepath.Split(path)
	return dir + "." + name + ".unfinished"
}

// replaceFile writes b beside path, reads it again as a restore would, and renames
// it. Its caller has the directory's lock, so that what an earlier writer left
// there is nobody's.
func replaceFile(path string, b *backup) (size int64, err error) {
	f, err := os.OpenFile(unfinished(path), os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name()) //nolint:errcheck // the next one takes its place
		}
	}()
	if err := b.encode(f); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if _, err := decode(f, info.Size()); err != nil {
		return 0, fmt.Errorf("%s was not written as it should be: %w", f.Name(), err)
	}
	return info.Size(), os.Rename(f.Name(), path)
}
