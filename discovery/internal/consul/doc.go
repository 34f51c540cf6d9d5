// Package consul asks Consul: it knows addresses, connections, tokens and refusals, and
// nothing of masters.
//
// A Client is one address. How it is reached (the token, TLS, the address where none is
// given) Consul's own variables say (environ.go); files among them are read again and
// again, since tokens and certificates are rotated under a process that lasts for months.
// Requests go through the client of Consul's library over a transport that uses no proxy,
// follows no redirect and bounds what is read (transport.go).
//
// What is followed for long, a service or a key, is asked for by Service and Key, whose
// errors are the library's, for Explain to put into words. Entries of the KV store that are
// read consistently, and written by compare-and-set, have methods of their own (kv.go).
// Nothing here waits or tries again.
package consul
