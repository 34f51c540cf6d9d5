// Package postgresql has no code of its own, only tests: rosproxy as the recipe
// for Patroni has it, between writers and a real PostgreSQL under the
// real Patroni, with the real Consul. The writers count what is acknowledged,
// and look for it when the leader has changed.
package postgresql
