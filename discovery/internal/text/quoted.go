// Package text shows what came from outside.
package text

import "strconv"

// Quoted shows what came from outside: escaped, and at most 120 bytes of it.
func Quoted(s string) string {
	const most = 120
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
