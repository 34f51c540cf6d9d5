package proxy

import (
	"os"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// defaultReserved are descriptors that are not a client's or a master's: the
// admin server's, Consul's, the logs', the shards' own.
const defaultReserved = 256

// mostPipes bounds what streams with slow readers can pin in the kernel: a
// pipeSize each.
const mostPipes = 512

// capacity is how many connections and pipes the process has room for.
type capacity struct {
	conns int
	pipes int
}

// capacityFor shares out the descriptors: two a connection, two a pipe, and
// a twentieth of them for pipes, since a stream holds one only while its
// destination does not keep up. maxConns of 0 takes what there is. What is
// reserved is half of them at most.
func capacityFor(maxConns, reserved, descriptors, pipePages int) capacity {
	pipes := min(max(descriptors/20, 2), mostPipes)
	if pipePages > 0 {
		// Half of what the user may have, for the other processes of that user.
		pipes = min(pipes, pipePages/(pipeSize/os.Getpagesize())/2)
	}
	if reserved == 0 {
		reserved = min(defaultReserved, descriptors/4)
	}
	if maxConns == 0 {
		maxConns = max((descriptors-min(reserved, descriptors/2))/2-pipes, 1)
	}
	return capacity{conns: maxConns, pipes: pipes}
}

// Room is for how many client connections the limit of open files has room.
type Room struct {
	Descriptors int // RLIMIT_NOFILE
	Conns       int
}

// RoomFor is the Room of a Proxy of which so many descriptors are reserved, as
// by Config.Reserved. A Proxy warns of a greater Config.MaxConns.
func RoomFor(reserved int) (Room, error) {
	descriptors, err := sock.DescriptorLimit()
	if err != nil {
		return Room{}, err
	}
	return Room{descriptors, capacityFor(0, reserved, descriptors, sock.PipePagesLimit()).conns}, nil
}
