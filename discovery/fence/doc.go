// Package fence is the protocol by which an election can wait until every proxy
// has let go of the old master: what an instance reports, and what await-fence
// makes of the reports. It does no I/O and reads no clock; discovery and the
// command await-fence carry out what it orders.
//
// # The promise
//
// No client gets an answer that the old master gave after await-fence returned 0,
// through any instance, whatever was killed, stopped or cut off. Outside it: a
// hypervisor that hides time, a Consul restored from a snapshot, an operator who
// deletes reports.
//
// # The rules, and what goes wrong without each
//
// A session with a TTL, the obvious way, fails: a client agent that leaves takes
// the key away within a second though the session was just renewed; renewals are
// no raft writes, so that a deposed leader grants them; and a dead instance takes
// twice the TTL. So:
//
//  1. The report is a beat: one KV entry for each process (Entry), written anew
//     every fifth of its TTL and at each change, one write at a time, each by
//     compare-and-set on the ModifyIndex of the one before (Beat). After an
//     unanswered write it is read back consistently; a compare-and-set that fails
//     means that the entry is lost: the process has lapsed. The key's last part is
//     random, another one after each lapse: a late write of before can neither
//     keep a dead report alive nor bring one back that the process counts on.
//  2. What an entry permits ends before others may take its process for dead: the
//     lease is the TTL less a fifth, on CLOCK_BOOTTIME, from the older of two
//     moments: when the last write began that succeeded, and when the label's last
//     consistent read began that did (LabelLease.Lease). From the begin, since nobody
//     knows when Consul had the one or answered the other; the older, since an
//     instance that can write but not read obeys nothing.
//  3. A lapse comes before any answer: it cuts, and what was begun before it gives
//     nothing (Beat.Answered, LabelLease.Look). An answer that is late would else extend
//     a lease that is over, over connections that await-fence has not waited for.
//  4. No client is connected on a read that began before the report stood: after
//     the answer to the first write that has the label, a consistent read that
//     begins afterwards names the master (LabelLease.Admits). Else the election, and an
//     await-fence that finds no report, fall between the read and the write. The same
//     after each lapse.
//  5. The election of another holder cuts at once, whatever on-lost, lost-after and
//     leader-ready say: await-fence would else wait for the readiness that waits
//     for it. What is obeyed rises with the index even where the master stays, and
//     is written after the cut.
//  6. await-fence reads the election and every list consistently (Await). A leader
//     key that is absent or held by nobody is no election to wait for; a list that
//     ACLs have filtered is no list. An entry behind that has not changed for its TTL
//     and 2 %, by await-fence's own clock, is dead: it is deleted by
//     compare-and-set, and counts as gone once that has succeeded.
//  7. A socket to a master is reset by the kernel when its process is killed
//     (SO_LINGER with a time of 0, from the dial on): else what is in its queues would
//     still be delivered, and answered.
//  8. A process that was stopped between the look at its lease and the system call
//     could make that one call when it goes on. A timer (CLOCK_BOOTTIME) kills it half a
//     second after the end of the lease, even while it is stopped, unless nothing
//     leased is open.
//  9. A process that starts takes away the entries of its instance whose process, on
//     this host and since this boot, is gone; one that exits in order takes its own
//     away when its last connection has ended. Nobody has to wait for those.
//
// # Labels in one entry
//
// An entry has the labels that hold a lease, and no others: await-fence waits for
// an entry that has its label. A label joins once a consistent read has been
// answered, and leaves when its lease has ended, so that a label of which nothing can
// be read blocks nobody for longer than that, while the entry goes on for the others.
//
// # Bounds
//
// All well, await-fence returns within milliseconds of the cut; with an instance
// that is dead or cut off after its TTL and 2 %; without proxies at once. The TTL is a
// trade: the lease must outlast an election among Consul's servers, or those that are
// well are cut.
package fence
