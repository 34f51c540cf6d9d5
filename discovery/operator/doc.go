// Package operator has what is asked of Consul once, and by no instance: by an operator, or
// by an election that has to know who has obeyed it.
//
//   - FenceWait waits until every report has obeyed an election (rosproxy await-fence):
//     awaitfence.go, fencewait.go.
//   - Activate makes another data centre the active one (rosproxy datacenter activate):
//     activate.go, activatesteps.go, activatewait.go.
//   - ShowDatacenters looks at all of them (rosproxy datacenter): showdatacenters.go.
//
// Each asks every address at the same time, since one may hang, and takes whichever answer
// comes first. What is allowed when is decided by packages fence and datacenter, which do no
// I/O; here is the I/O that they ask for. Nothing here follows Consul: who is master in a
// data centre is asked of package discovery, which knows nothing of this one.
package operator
