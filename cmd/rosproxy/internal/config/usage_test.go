package config

import (
	"bytes"
	"regexp"
	"slices"
	"testing"
)

// A command that the help has and the usages have not would be missing in the
// manual page and in the completions.
func TestUsagesAreOfAllCommandsInTheHelp(t *testing.T) {
	var help bytes.Buffer
	if _, _, err := Parse([]string{"--help"}, nil, &help); err != nil {
		t.Fatal(err)
	}
	_, list, found := bytes.Cut(help.Bytes(), []byte("\nCommands:\n"))
	if !found {
		t.Fatalf("got help without commands:\n%s", &help)
	}
	var inHelp, usages []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z-]+)`).FindAllSubmatch(list, -1) {
		inHelp = append(inHelp, string(m[1]))
	}
	for _, u := range Usages() {
		usages = append(usages, string(u.Name))
	}
	slices.Sort(inHelp)
	slices.Sort(usages)
	if !slices.Equal(inHelp, usages) {
		t.Errorf("got the usages of %q; want those of the commands in the help, %q", usages, inHelp)
	}
}
