//go:build race

package datacenter

func init() { raced = true }
