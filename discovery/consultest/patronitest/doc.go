// Package patronitest is a double of a Patroni cluster, for tests and
// benchmarks: what Patroni 3.0 writes into Consul, and the REST API of its
// members. There is no PostgreSQL behind it.
//
//	c := patronitest.New(consul, "batman") // a client of a real Consul, or of package consultest
//	defer c.Close()
//	c.Add("pg1", "postgres://127.0.0.1:5432/postgres")
//	c.Elect("pg1")   // service/batman/leader names it, held by its session
//	c.Promote("pg1") // members/pg1 and GET /primary say master
//
// A failover is [Cluster.LoseLock], [Cluster.Elect] and [Cluster.Promote].
// Nothing moves by itself: each step is one call, and when it returns Consul
// has it.
//
// As in Patroni, GET /primary is answered 200 from the moment a member holds
// the lock, and not first when it has been promoted (seen with Patroni 3.0.2:
// 4.2 s earlier, with a pre_promote of 4 s). Until then the body says
// "role": "replica", and PostgreSQL would refuse to write.
//
// What a well member does not do, it does by [Member.Break]: see [Status],
// [Hang], [Drip], [Huge] and [Redirect]. [Member.Stop] is its death.
package patronitest
