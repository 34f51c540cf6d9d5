package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func reference(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReferenceListsEveryFlagWithItsDefault(t *testing.T) {
	var g grammar
	k, err := kong.New(&g, kong.Name("rosproxy"))
	if err != nil {
		t.Fatal(err)
	}
	text := reference(t)
	flags := map[string]bool{"help": true}
	for _, f := range k.Model.Flags {
		flags[f.Name] = true
		if f.Name == "help" {
			continue
		}
		row := regexp.MustCompile("(?m)^\\| `--" + f.Name + "[ `].*$").FindString(text)
		if row == "" {
			t.Errorf("The reference has no row for --%s", f.Name)
		} else if f.HasDefault && !strings.Contains(row, "`"+f.Default+"`") {
			t.Errorf("The reference's row for --%s does not name the default %q:\n%s", f.Name, f.Default, row)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !flags[m[1]] {
			t.Errorf("The reference has a row for --%s, which is no flag", m[1])
		}
	}
}
