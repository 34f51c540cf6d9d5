package load

// Kind says what the connections of a group do.
type Kind string

// What a master does with the connections it accepts.
const (
	Discard Kind = "discard" // takes bytes
	Source  Kind = "source"  // sends bytes
	Echo    Kind = "echo"    // answers each request of Spec.Request bytes with Spec.Response bytes, each of them Spec.ID
)

// What clients do.
const (
	Send     Kind = "send"     // sends bytes
	Receive  Kind = "receive"  // takes bytes; with a Rate, slowly: Spec.Chunk bytes at a time
	Exchange Kind = "exchange" // requests and responses, one at a time on each connection
	Once     Kind = "once"     // connects, exchanges once, closes, and begins again
	Hold     Kind = "hold"     // exchanges once and stays; see Spec.Return
	Ignore   Kind = "ignore"   // stays, and never reads
)

// Spec describes a group of connections that do the same.
type Spec struct {
	Kind     Kind
	Count    int     // connections of a client group, for Once at a time
	Request  int     // bytes
	Response int     // bytes
	ID       byte    // what an Echo's answers are made of, not 0
	Header   bool    // Echo: each connection begins with a PROXY protocol header of version 1, which counts for nothing
	Rate     float64 // actions a second of the whole group, evenly spread; 0: as fast as it goes
	Chunk    int     // bytes that one action of a Send or Receive with a Rate is about
	Return   bool    // Hold: whoever is cut connects again at once, and exchanges once
	Copy     int     // bytes of memory that one call of a Discard or Receive copies into; 0: the kernel throws them away
	Owed     int     // bytes that a Source sends to each; 0: without end
	Buffer   int     // asked for as each socket's buffers (SO_SNDBUF, SO_RCVBUF); 0: the kernel sizes them
}

// Stats is what a group has done since it was marked.
type Stats struct {
	At        int64  // when this was written down, by Clock
	Live      int    // connections that are established at the moment
	Bytes     uint64 // received; for Send sent
	Exchanges uint64 // responses that were received whole, or given
	Failed    int    // connections that broke where none should
	Latency   Latency

	// Of a Hold. Served counts connections that have had an answer, from the
	// wanted master where one is; Closed those that had one before and ended,
	// for as long as they were not served by the wanted one.
	Served      int
	Closed      int
	FirstServed int64
	LastServed  int64
	LastClosed  int64
}

// Latency tells how long exchanges took, in nanoseconds.
type Latency struct {
	Count              int64
	P50, P90, P99, Max int64
}

// command is one line to a worker, reply is its answer.
type command struct {
	Op      string // listen, open, mark, stats
	Group   int    // of mark and stats
	Address string // HOST:PORT to listen on or to connect to
	Spec    *Spec  `json:",omitempty"`
	Wanted  byte   `json:",omitempty"` // mark: the ID of the master whose answers count; 0: any
}

type reply struct {
	Group   int
	Address string // that the listener was bound to
	Stats   *Stats `json:",omitempty"`
	Error   string `json:",omitempty"`
}
