// Package realconsul runs the real Consul for tests: a dev agent, a cluster
// of servers with a client agent, or two data centres, on loopback addresses
// and with their data in the test's own directory.
//
//	agent := realconsul.StartDev(t)
//	c := agent.Client()
//
// The binary is the one that ROSPROXY_TEST_CONSUL names, else bin/consul in
// the module's root, which `make consul` builds. Without one the test fails.
//
// Everything is ended with the test, and the kernel ends it with the test's
// process. What an agent logged is shown when the test fails.
//
// Functions and methods that can fail end the test instead, so they belong on
// the test's own goroutine.
package realconsul
