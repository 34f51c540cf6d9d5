package handover

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Inherit looks whether env says that this process is a successor: nil when it
// does not. The rest is env without that. The descriptors are not inherited by
// processes that this one starts.
func Inherit(env []string) (p *Predecessor, rest []string, err error) {
	text, found, rest := cut(env, Variable)
	if !found {
		return nil, rest, nil
	}
	m, err := parseManifest(text)
	if err == nil && m.Listed {
		err = m.readList()
	}
	if err != nil {
		return nil, rest, fmt.Errorf("read %s: %w", Variable, err)
	}
	for i := range m.descriptors() { // all, before one is touched
		if m.Listed && connFD+i == listFD {
			continue // it has been read
		}
		if err := checkSocket(connFD + i); err != nil {
			return nil, rest, fmt.Errorf("read %s: descriptor %d: %w", Variable, connFD+i, err)
		}
	}
	if m.Listed {
		_ = unix.Close(listFD)
	}
	p = &Predecessor{PID: m.PID, Generation: m.Generation, takesQuestions: m.takesQuestions(0)}
	if p.conn, err = newConn(takeFile(connFD, "handover"), nil); err != nil {
		return nil, rest, fmt.Errorf("open the connection to the predecessor: %w", err)
	}
	if p.process, err = unix.PidfdOpen(m.PID, 0); err != nil { // an old kernel, or it has ended
		p.process = -1
	}
	next := m.firstSocket()
	for _, s := range m.Sockets {
		p.Sockets = append(p.Sockets, Socket{Name: s.Name, Shared: s.Shared, File: takeFile(next, s.Name)})
		next++
	}
	for i := range m.Ancestors {
		f := takeFile(next, "handover")
		next++
		if c, err := net.FileConn(f); err == nil { // else that generation learns nothing of us
			p.ancestors = append(p.ancestors, &ancestor{Conn: c, takesQuestions: m.takesQuestions(i + 1)})
		}
		_ = f.Close() // FileConn has made a copy
	}
	return p, rest, nil
}

func checkSocket(fd int) error {
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err
}

func takeFile(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
