// Package toy is the master of the proof: for each label a store that only
// grows, kept in a file before a write is acknowledged, and read whole by the
// master that follows.
//
// It stands for a replicated store with an election that fences nobody but
// through rosproxy: it replicates without a gap until the moment when the next
// master is promoted, and not at all from then on. A master that was deposed is not told:
// it goes on to acknowledge and to answer, with its old term. So an answer that
// it gives to a client after the promotion is a write that is lost, or a read
// that is stale, and the history of the clients is not linearizable. That is
// what the proxy has to prevent, and nothing here does it in its stead.
//
// Until it is promoted a master takes connections and requests, and answers
// none: so does a PostgreSQL that recovers, and so the harness can wait for the
// fence before anything is acknowledged.
//
// Requests are lines: "A ID" appends ID, "R ID" reads, and either is answered by
// "NAME TERM COUNT LAST", COUNT and LAST of the store after it. "P N" and N bytes
// behind it are thrown away slowly and without an answer, so that bytes are
// always under way to the master.
package toy
