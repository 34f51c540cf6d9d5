package config

import (
	"strings"
	"unicode"
)

// OneLine makes s fit for one line of a terminal or a log.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}

// Trim is the first most bytes of s, without half a character at the end.
func Trim(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
