// Package datacenter is the protocol that decides which of several data centres is the
// active one. Entry is what Consul's KV store holds; Follower is how an instance
// interprets the entries that it reads; Activation is how an operator makes another
// data centre the active one. The package does no I/O and reads no clock: discovery
// carries out the steps that it orders.
//
// # The promise
//
// No two processes have connections to masters of different data centres at the same
// time, and an older entry never undoes one that was acted on. The promise does not
// hold in these cases:
//
//   - The operator forces a data centre that is not down, or that comes back before the
//     command has returned (if the command was killed: before its last write has been
//     made or lost).
//   - Two operators force different data centres, one after the other.
//   - After a forced activation its entry is deleted, and only one data centre had it.
//   - The entries in all data centres are deleted while an activation runs, or while a
//     process that remembers them does not report.
//   - Consul is restored from a snapshot that was taken after a forced activation.
//
// # The rules of an instance, and what goes wrong without each
//
// There is no quorum of two data centres, and no single write reaches both. So each
// keeps its own copy of the entry, with a term, and the highest term counts.
//
//  1. The highest term that was read is remembered (Follower.Take). Otherwise an entry
//     from a backup, or from a data centre that was down, would be followed back.
//  2. The process reports in its own data centre before it connects any client. When
//     that report stands, it reads the entry of every data centre consistently, except
//     those that the newest entry was written without (Follower.Unread). Otherwise an
//     activation could look for reports after the process has read the entry and before
//     its report is there; and a process that remembers nothing could follow the entry
//     of a data centre that was down during the last activation. The same holds after
//     each lapse. A process that is already connected needs no other data centre.
//  3. If its own data centre is not one of those configured, an activation does not look
//     at the report there. The report in the data centre that it serves takes its place,
//     and must stand anew after each change of the active data centre.
//  4. It also reports in the data centre of the master that it serves, because elections
//     there wait for it (package fence). The promise above needs this only in the case
//     of rule 3.
//  5. The lease ends with the first of its reports to lapse. An activation takes a
//     report that has lapsed for dead and goes on without it.
//  6. The process cuts its connections before it reports a higher term, because an
//     activation goes on when it sees that term. An entry that names nobody cuts, too.
//  7. Terms in reports begin at 1: a label joins a report when it has seen an entry. A
//     term of 0 is that of a label with a single data centre, which no activation waits for.
//
// # The rules of an activation
//
//  1. It reads all entries consistently, then all reports. T is the highest term in
//     either: if entries were deleted, new terms would otherwise begin below those that
//     processes remember. A data centre that cannot be read ends the activation, unless
//     it is forced.
//  2. It first writes that nobody is active, with the term T+2, in every data centre
//     that can be read. Each write is a compare-and-set on what was read, so that of two
//     activations at the same time one fails. The term is T+2, and the data centres with
//     the lowest terms come first, because an activation that was killed may have left a
//     term that is higher by 1 or 2 in a data centre that cannot be read now. Otherwise
//     that data centre would undo this activation when it comes back.
//  3. It waits until every report in the data centres that can be read has that term or
//     is dead. A report with a higher term ends the activation.
//  4. With force it also waits until all leases are over that the data centres that
//     cannot be read may have given. Otherwise a process there that survives a short
//     failure would go on with what it knew before.
//  5. It then writes that the target is active, with the term T+3, by compare-and-set on
//     the entries of rule 2. The entry names the data centres that were forced: a process
//     that starts need not read the entry there.
//  6. If the target is active already, it stays active and nothing is cut: data centres
//     that lack the entry get it. If the entry was written without other data centres
//     than those that cannot be read now, one with a higher term replaces it everywhere:
//     T+1, or T+3 with force, because a data centre that cannot be read may have an entry
//     of T+2 that names nobody. The data centres that it was written without are last, so
//     that until then their entries warn whoever would force another one. At the end all
//     entries are read again, so that the exit code is true.
//
// The tests search every order of the steps of an instance and of two or three
// activations, with failures and returns of data centres, kills, lapses, late answers and
// lost entries. Without any one of these rules they find a way to break the promise, or
// a state from which no activation succeeds. The exceptions are rules 4 and 5 of an
// instance, which belong to package fence, and rule 6 of an activation.
package datacenter
