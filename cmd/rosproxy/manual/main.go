// Command manual writes rosproxy's manual page and the completions for bash, zsh
// and fish, all from the command line's own grammar.
//
//	manual -version 0.2.0 -date 2026-11-25 DIRECTORY
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

func main() {
	version := flag.String("version", "", "what the manual page is of")
	date := flag.String("date", "", "of the manual page, as YYYY-MM-DD")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "manual: want one directory to write to")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), edition{*version, *date}, config.Usages()); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write makes the files in dir, which it makes as well.
func write(dir string, e edition, commands []config.Usage) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for name, render := range map[string]func(io.Writer){
		"rosproxy.8":    func(w io.Writer) { writePage(w, e, commands) },
		"rosproxy.bash": func(w io.Writer) { writeBash(w, commands) },
		"_rosproxy":     func(w io.Writer) { writeZsh(w, commands) },
		"rosproxy.fish": func(w io.Writer) { writeFish(w, commands) },
	} {
		var text bytes.Buffer
		render(&text)
		if err := os.WriteFile(filepath.Join(dir, name), text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
