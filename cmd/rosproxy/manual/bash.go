package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// writeBash writes a completion for bash that needs nothing of bash-completion,
// which would load it.
func writeBash(w io.Writer, commands []config.Usage) {
	run, others := named(commands)
	io.WriteString(w, bashHead)
	for _, c := range others {
		bashCase(w, string(c.Name), c)
	}
	bashCase(w, "*", run)
	fmt.Fprintf(w, "\tesac\n\tif ((COMP_CWORD == 1)); then words+=' %s'; fi\n", commandWords(commands))
	io.WriteString(w, bashTail)
}

// bashCase completes values of a command's flags, or leaves the command's words.
func bashCase(w io.Writer, pattern string, c config.Usage) {
	fmt.Fprintf(w, "\t%s)\n%s\t\tcase $prev in\n", pattern, bashBehind(c))
	for _, f := range c.Flags {
		switch {
		case takesFile(f):
			fmt.Fprintf(w, "\t\t--%s) _rosproxy_files; return ;;\n", f.Name)
		case choices(f) != nil:
			fmt.Fprintf(w, "\t\t--%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", f.Name, strings.Join(choices(f), " "))
		case f.Value != "":
			fmt.Fprintf(w, "\t\t--%s) return ;;\n", f.Name)
		}
	}
	fmt.Fprintf(w, "\t\tesac\n\t\twords='%s'\n\t\t;;\n", strings.TrimSpace(argWords(c)+" "+flagWords(c)))
}

// bashBehind completes what stands behind -- as a command.
func bashBehind(c config.Usage) string {
	for _, a := range c.Args {
		if runsCommand(a) {
			return "\t\tif [[ $behind ]]; then COMPREPLY=($(compgen -c -- \"$cur\")); return; fi\n"
		}
	}
	return ""
}

func argWords(c config.Usage) string {
	var words []string
	for _, a := range c.Args {
		words = append(words, a.Words...)
	}
	return strings.Join(words, " ")
}

const bashHead = `# bash completion for rosproxy

_rosproxy_files() {
	compopt -o filenames 2>/dev/null
	COMPREPLY=($(compgen -f -- "$cur"))
}

_rosproxy() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= behind= words i
	# bash takes --flag=value for three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if ((COMP_CWORD > 1)); then command=${COMP_WORDS[1]}; fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then behind=1; fi
	done
	case $command in
`

const bashTail = `	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _rosproxy rosproxy
`
