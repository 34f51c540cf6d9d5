package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// Map gives size bytes of zeroes outside of Go's heap. A page of them takes
// memory from the first write to it until it is forgotten.
func Map(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // else a byte may take 2 MiB
	return b, nil
}

// Forget gives the memory of b, which begins a page, back to the system. It stays mapped, all zeroes.
func Forget(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }

// Unmap ends a mapping that Map has made.
func Unmap(b []byte) { _ = unix.Munmap(b) }
