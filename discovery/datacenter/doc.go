// Package datacenter is the protocol by which one of several data centres is the
// active one: what its entry in Consul's KV store says, and what an instance that
// reads it makes of it. It does no I/O and reads no clock.
package datacenter
