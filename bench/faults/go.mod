// The proof by fault is a module of its own: neither the product nor its benchmark
// needs what judges its histories.
module github.com/rosproxy/rosproxy/bench/faults

go 1.26.7

require (
	github.com/anishathalye/porcupine v1.3.1
	golang.org/x/sys v0.49.0
)
