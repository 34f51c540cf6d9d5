// Package datacenter is the protocol by which one of several data centres is the
// active one: what its entry in Consul's KV store says (Entry), what an instance that
// reads it makes of it (Follower), and how another one is activated (Activation). It
// does no I/O and reads no clock; discovery carries out what it orders.
//
// # The promise
//
// No two processes have connections to masters of different data centres at a time,
// and no entry that was acted on is undone by an older one. Outside it: an operator who
// forces a data centre that is not down, or that does not stay down until the command
// has returned (and, if it was killed, until its last write has been made or lost); two
// who force different ones in a row; an entry deleted in the only data centre that has
// the one of a forced activation; entries deleted in all data centres while one is
// activated, or while a process that knows them does not report; a Consul that is
// restored from a snapshot of after a forced activation.
//
// # The rules of an instance, and what goes wrong without each
//
// Two data centres have no quorum, and no write is made in both at once: so the entry is
// kept in each, has a term, and the highest counts.
//
//  1. The highest term that was read is remembered (Follower.Take). An entry that is
//     restored, or that of a data centre that was down, would else be followed back.
//  2. The process reports in its own data centre before it connects anybody, and reads
//     every entry by a consistent read begun after the report stood, but for those that
//     the newest entry was written without (Follower.Unread). An activation that finds
//     no report would else fall between a read and the report; and a process that
//     remembers nothing would go by the entry of a data centre that was down when
//     another was activated. The same after each lapse. One that runs needs no other
//     data centre.
//  3. Where its own data centre is none of those configured, nobody who activates looks
//     at the report there: that one counts in its place which stands where it serves,
//     anew after each move.
//  4. It reports in the data centre of the master that it serves, too, for the elections
//     there (package fence). For those at home in a configured data centre the promise
//     above does not need it.
//  5. A lease ends with the first of the reports that give it. What is lapsed counts no
//     more: who waits for a report takes it for dead, and goes on.
//  6. It cuts before it reports a higher term, by which an activation goes on. Nobody
//     active is another one: it cuts.
//  7. Terms in reports are from 1 on: a label joins when it has seen an entry. With 0
//     it could not be told from one that has a single data centre, for which nobody waits.
//
// # The rules of an activation
//
//  1. All entries are read consistently, then all reports. T is the highest term in
//     both: where entries were deleted, terms would else begin anew below what processes
//     remember. A data centre that cannot be read ends it, unless it is forced.
//  2. Nobody is active first, with the term T+2, in every data centre that can be read,
//     by compare-and-set on what was read: of two activations one ends. T+2, and the
//     lowest terms first, since one that was killed may have left a term that is higher
//     by 1 or 2 where it cannot be read now: its return would undo this activation.
//  3. Every report must have seen that term, or be dead, in every data centre that can
//     be read. One that has seen a higher one ends it.
//  4. By force it waits, too, until the leases are over that the data centres may have
//     given that cannot be read. A process there that has outlived a failure of a few
//     seconds would else go on by what it knows.
//  5. The target is the active one, with the term T+3, by compare-and-set on the entries
//     of rule 2. The entry says who was forced: those that start need not read it there.
//  6. What is active already stays so, and nobody is cut: those that lack the entry get
//     it. Where others were forced before than now, a higher term follows everywhere
//     (T+1; by force T+3, since a data centre that cannot be read may have a nobody of
//     T+2), last in those that were forced: until then their entries warn whoever would
//     force another one. The entries are read again at the end, for the exit code to be true.
//
// The tests search every order in which an instance and two or three activations may do
// their steps, with failures and returns of data centres, kills, lapses, late answers
// and lost entries; and find a way to break the promise, or to get nowhere, without each
// of these rules but instance 4 and 5, which are those of package fence, and activation 6.
package datacenter
