// Package discovery finds out who is master of each label, and tells a Sink.
//
// A Source is one of two: Consul follows services, or leader keys, in Consul;
// Static repeats what the operator said. Either is made once, checked there and
// then for what no retry can fix, and run once:
//
//	source, err := discovery.NewConsul(discovery.Config{
//		Service: "sync",
//		Tags:    []string{"role=master"},
//		Labels:  []discovery.Label{{Name: "europe", Tagged: true}},
//	}, log)
//	...
//	err = source.Run(ctx, sink) // returns when ctx ends
//
// # The path of a master change
//
// Package internal/consul is how one address of Consul is asked at all. What is
// asked is a question: a service with its tags in a data centre, or a
// key. Labels subscribe to questions, and those that need the same answer share
// one. For each question and Consul address a poller keeps one long poll going,
// which is how a change is usually learned, within milliseconds; and beside it
// reads consistently now and then, since a long poll alone can be blind. Every
// answer goes, one at a time, to the watch of its question, and from there to the
// labels that it changes something for, each with a goroutine of its own:
//
//	agent.ask -> watch.take -> view.after -> labelWatch.look -> service or leader -> mastership -> Sink
//	             indexFilter: does           elect: who is master
//	             the answer count?           of those who claim to be?
//
// The index filter drops what is older than what was acted on, and asks for a
// consistent read where an answer is no proof. A view is what a label knows by the
// last answer that counted for it; a label always looks at the newest. elect is a
// pure function of the candidates, so that every instance of a tier chooses the
// same master; leader has the table of what follows from a leader key. mastership
// turns that into orders. Where the winner is known by a host name, a resolver
// looks that up; it does so beside the label, and for nobody but the winner. Then
// the labelWatch, which alone calls the Sink for its label, carries the order out. There
// is no queue on this path that could go stale, and no second path.
//
// # When Consul is away
//
// An answer that was not obtained is no answer: it changes nothing. How long
// consistent reads may go unanswered before the master no longer counts is a
// matter of policy (Config.OnOutage). While all is well Sink.Confirm says, read
// by read, as of when the master is known to be right, and Sink.Lease how long
// that lasts, so that a process that stood still need not wait for this package
// to find out.
//
// # What it does not do
//
// It moves no bytes and knows no connection; it registers nothing and takes no
// lock, and writes nothing to Consul but the entries of fence reports (Config.Reports);
// it does not judge whether a master works, which is the business of Consul's
// checks, and of a leader only once, when it is elected; and it remembers nothing
// from one process to the next.
package discovery
