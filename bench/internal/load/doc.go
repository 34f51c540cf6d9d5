// Package load makes the traffic that proxies are measured with, and takes it
// at the other end.
//
// A load worker is a process of its own, started from the same binary: one
// epoll loop on one thread, told what to do by lines of JSON on its standard
// input. One worker plays the clients, another the master, so that neither's
// CPU time is the proxy's.
//
// It is made to cost little, lest it be what is measured: bytes go out by
// sendfile(2) from a memfd, so that no data is copied in, and are thrown away
// in the kernel by MSG_TRUNC, so that none is copied out, except where a sink
// that copies is asked for; a message is two system calls and no goroutine
// switch; nothing is allocated on its way.
package load
