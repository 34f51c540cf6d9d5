//go:build race

package fence

func init() { raced = true }
