package config

import (
	"strings"
	"unicode"
)

// OneLine makes s fit for one line of a terminal or a log.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}

// Printable is s, which came from outside, in one line of at most that many bytes
// in which nothing is hidden: no control character, none that turns the
// direction of what follows, no half of one.
func Printable(s string, most int) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
	return Trim(strings.Join(words, " "), most)
}

// Trim is the first most bytes of s, without half a character at the end.
func Trim(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
