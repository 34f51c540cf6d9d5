package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// edition is what the manual page says of itself.
type edition struct{ version, date string }

// writePage writes the page, in the macros of man(7).
func writePage(w io.Writer, e edition, commands []config.Usage) {
	fmt.Fprintf(w, ".TH ROSPROXY 8 %q %q %q\n", e.date, strings.TrimSpace("rosproxy "+e.version), "System Manager's Manual")
	section(w, "NAME")
	fmt.Fprintln(w, `rosproxy \- TCP proxy to the current master of a cluster`)
	writeSynopsis(w, commands)
	section(w, "DESCRIPTION")
	prose(w, config.Description())
	section(w, "COMMANDS")
	for _, c := range commands {
		item(w, string(c.Name), "", c.Help)
	}
	writeOptions(w, commands)
	io.WriteString(w, rest)
}

func writeSynopsis(w io.Writer, commands []config.Usage) {
	section(w, "SYNOPSIS")
	for i, c := range commands {
		if i > 0 {
			fmt.Fprintln(w, ".br")
		}
		name := `\fB` + quote(string(c.Name)) + `\fR`
		if c.Name == config.Run {
			name = "[" + name + "]"
		}
		line := `\fBrosproxy\fR ` + name
		if len(c.Flags) > 0 {
			line += ` [\fIflags\fR]`
		}
		for _, a := range c.Args {
			line += " " + argument(a)
		}
		fmt.Fprintln(w, line)
	}
}

func argument(a config.ArgUsage) string {
	s := `\fI` + quote(strings.ToUpper(a.Name)) + `\fR`
	if len(a.Words) > 0 {
		s = `\fB` + quote(strings.Join(a.Words, "|")) + `\fR`
	}
	if a.Many {
		s += ` ...`
	}
	if runsCommand(a) {
		s = `\-\- ` + s
	}
	if a.Optional {
		s = "[" + s + "]"
	}
	return s
}

// writeOptions lists the flags of each command; those of run and check once.
func writeOptions(w io.Writer, commands []config.Usage) {
	section(w, "OPTIONS")
	for _, c := range commands {
		if len(c.Flags) == 0 || c.Name == config.Check {
			continue
		}
		title := string(c.Name)
		if c.Name == config.Run {
			title += " and " + string(config.Check)
		}
		fmt.Fprintf(w, ".SS %q\n", title)
		for _, f := range c.Flags {
			item(w, "--"+f.Name, f.Value, f.Help)
		}
		for _, a := range c.Args {
			item(w, "", strings.ToUpper(a.Name), a.Help)
		}
	}
}

func section(w io.Writer, title string) { fmt.Fprintf(w, ".SH %q\n", title) }

// item is a tagged paragraph: a word as it is typed, what stands for a value, and
// what it is for.
func item(w io.Writer, word, value, text string) {
	tag := ""
	if word != "" {
		tag = `\fB` + quote(word) + `\fR`
	}
	if value != "" {
		tag = strings.TrimSpace(tag + ` \fI` + quote(value) + `\fR`)
	}
	fmt.Fprintf(w, ".TP\n%s\n", tag)
	fmt.Fprintln(w, running(text))
}

// prose writes paragraphs, which empty lines part.
func prose(w io.Writer, text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(w, ".PP")
		}
		fmt.Fprintln(w, running(paragraph))
	}
}

// running is text in which flags are bold. A line that begins with a dot or an
// apostrophe would be a request, and \& keeps it from that.
func running(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		if name := strings.TrimRight(word, ".,:;)"); strings.HasPrefix(name, "--") {
			words[i] = `\fB` + quote(name) + `\fR` + word[len(name):]
		} else {
			words[i] = quote(word)
		}
	}
	line := strings.Join(words, " ")
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return line
}

// quote is text as it stands: roff reads \ as a command and - as a hyphen.
var quoting = strings.NewReplacer(`\`, `\e`, `-`, `\-`)

func quote(s string) string { return quoting.Replace(s) }
