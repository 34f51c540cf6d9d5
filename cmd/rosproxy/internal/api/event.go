package api

// Event is one element of the events of a Status: at (RFC 3339), event (failover,
// lost, back, pause, resume, drain, upgrade or activation), label (empty: it is the
// process's), message, and the other fields of its line in the log.
type Event map[string]any
