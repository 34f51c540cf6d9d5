// Package datacenter is the protocol by which one of several data centres is the
// active one: what its entry in Consul's KV store says (Entry), what an instance that
// reads it makes of it (Follower), and how another one is activated (Activation). It
// does no I/O and reads no clock; discovery carries out what it orders.
//
// # The promise
//
// No two processes have connections to masters of different data centres at a time, and
// no entry that was acted on is undone by an older one. Outside it: an operator who has
// forced a data centre that was not down, or stayed not so until the command had
// returned; two in a row who forced different ones; entries deleted in two data centres
// within one activation, or in the only one that has it after a forced one; a Consul restored from a snapshot of
// after a forced one.
//
// # The rules of an instance, and what goes wrong without each
//
// Two data centres have no quorum, and no entry is in both: so the entry is kept in
// each, has a term, and the highest counts.
//
//  1. The highest term that was read is remembered (Follower.Take). An entry that is
//     restored, or that of a data centre that was down, would else be followed back.
//  2. The process reports in its own data centre, for the label, before it connects
//     anybody, and reads every entry by a consistent read begun after the report stood,
//     except where the newest entry was written without (Follower.Unread). Else an
//     activation that finds no report falls between the read and the write; and one
//     that remembers nothing would go by the entry of a data centre that was down when
//     another was activated. The same after each lapse. One that runs needs no other
//     data centre.
//  3. Where its own data centre is none of those configured, nobody who activates looks
//     at the report there: that one counts which stands where it serves, anew after each move.
//  4. It reports in the data centre of the master that it serves, too, and reads the entry there after that report stood: the elections there, too,
//     must wait for it (package fence).
//  5. A lease ends with the first of the reports that give it, and with the reads of the entries
//     beside them (package fence). What has lapsed is not counted on any more.
//  6. It cuts before it reports a higher term: the activation would else go on over
//     connections that are open. Nobody active is another one: it cuts.
//  7. Terms in reports are from 1 on: a label joins when it has seen an entry. With 0 it
//     could not be told from one that has a single data centre, for which nobody waits.
//
// # The rules of an activation
//
//  1. All entries are read consistently, then all reports. T is the highest term of
//     both: terms would else begin anew where entries were deleted, below what processes
//     remember. A data centre that cannot be read ends it, unless it is forced.
//  2. Nobody is active first, with the term T+2, in every data centre that can be
//     read; by compare-and-set on what was read, so that of two activations one ends. T+2, and
//     the lowest terms first: one that was killed may have left a term that is higher by
//     1 or 2 where it cannot be read now, and its return would undo this one.
//  3. Every report must have seen that term, or be dead, in every data centre that can be
//     read. One with a higher term ends it.
//  4. Without a data centre, by force: it waits, too, until the leases are over that this one may have
//     given. A process there that has survived a short failure would else go on by what it knows.
//  5. The target is the active one, with the term T+3, by compare-and-set on the entries
//     of step 2. It says which data centres were forced: those that start need not read them.
//  6. What is active already stays so: nobody is cut. Those that lack the entry get it. Where others were forced before
//     than now, a higher term follows everywhere (T+1; T+3 with a forced one, which may have a nobody of T+2),
//     last in those that were forced: whoever would force another one meanwhile is warned by their entries.
//
// Every rule but those for availability has a counterexample in the tests without it: an exhaustive
// search of all orders in which an instance, two or three activations, failures and
// returns of data centres, lapses, restarts and lost entries can follow each other.
package datacenter
