package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// columns is how wide a text is at most.
const columns = 100

// style is how a piece of text looks where there are colours.
type style string

const (
	plain style = ""
	bold  style = "1"
	good  style = "32"
	doubt style = "33"
	bad   style = "31"
)

// text is a piece of text of one style, from wherever: a printer makes it fit for a terminal.
type text struct {
	text  string
	style style
}

// printer prints text for people, or one document for programs.
type printer struct {
	w      *bufio.Writer
	colour bool
}

func newPrinter(w io.Writer, env []string) *printer {
	return &printer{w: bufio.NewWriter(w), colour: isTerminal(w, env) && !hasEntry(env, "NO_COLOR")}
}

// isTerminal reports whether w can be written anew in place and in colours.
func isTerminal(w io.Writer, env []string) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && !slices.Contains(env, "TERM=dumb")
}

// hasEntry reports whether a variable is there and not empty.
func hasEntry(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool {
		value, ok := strings.CutPrefix(e, name+"=")
		return ok && value != ""
	})
}

func (p *printer) flush() error { return p.w.Flush() }

// styled is t as it is written; its text prints.
func (p *printer) styled(t text) string {
	if !p.colour || t.style == plain || t.text == "" {
		return t.text
	}
	return "\x1b[" + string(t.style) + "m" + t.text + "\x1b[0m"
}

// paragraph prints words behind each other, and breaks lines between them. The
// first line begins with first spaces, the others with indent.
func (p *printer) paragraph(first, indent int, texts ...text) {
	at, separator := first, strings.Repeat(" ", first)
	for _, t := range texts {
		for word := range strings.FieldsSeq(printable(t.text)) {
			for _, piece := range pieces(word, columns-max(first, indent)) {
				n := utf8.RuneCountInString(piece)
				if at+len(separator)+n > columns && at > first {
					at, separator = indent, "\n"+strings.Repeat(" ", indent)
				} else if at > first {
					at++
				}
				fmt.Fprint(p.w, separator, p.styled(text{piece, t.style}))
				at, separator = at+n, " "
			}
		}
	}
	fmt.Fprintln(p.w)
}

// pieces cuts what is longer than a line.
func pieces(word string, most int) (all []string) {
	runes := []rune(word)
	for len(runes) > most {
		all, runes = append(all, string(runes[:most])), runes[most:]
	}
	return append(all, string(runes))
}

// document prints v as one JSON document.
func (p *printer) document(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	_, err := p.w.Write(escapeHidden(b.Bytes()))
	return err
}

// escapeHidden writes what does not print in a JSON document, which can be only
// in strings, in the form \uXXXX: it may end up on a terminal.
func escapeHidden(document []byte) []byte {
	document = bytes.ToValidUTF8(document, []byte("\uFFFD"))
	hidden := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(document, hidden) {
		return document
	}
	var b bytes.Buffer
	for _, r := range string(document) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}
