// Package fleet has no code of its own, only tests: rosproxy as it is run,
// several instances behind the real HAProxy or the real nginx, with the real
// Consul, each on a host of its own, and traffic that counts what fails.
//
// A host is a network namespace with a cable to one switch. The namespaces
// have no names: the kernel removes each with the last process and socket in
// it, so that no run, however it ended, is in the way of the next, and no
// address of the machine is touched. It takes root to make them.
//
// Masters and clients are goroutines of the test, with sockets in their
// hosts' namespaces; all else are processes, each below a reaper that ends
// with the test and takes along whatever its process has left behind.
//
//	10.77.0.2  clients      10.77.0.10  balancer     10.77.0.21  master one
//	10.77.0.5  Consul       10.77.0.11  rosproxy a   10.77.0.22  master two
//	                        10.77.0.12  rosproxy b
//
// The balancers run the files of testdata that testdata/README.md shows.
package fleet
