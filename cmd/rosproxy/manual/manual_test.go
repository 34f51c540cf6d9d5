package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// written writes all files, as the Makefile does.
func written(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := write(dir, edition{"1.2.3", "2026-11-25"}, config.Usages()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tool finds a program that make test installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed; make test does it where it is root", name)
	}
	return path
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// A formatter's text has words parted at the ends of lines.
func TestPageNamesEveryCommandAndFlagWithItsHelp(t *testing.T) {
	page := filepath.Join(written(t), "rosproxy.8")
	text := output(t, "mandoc", "-T", "utf8", "-O", "width=1000", page)
	var plain bytes.Buffer // without the overstrikes that make bold and italic
	for _, r := range text {
		if r == '\b' {
			plain.Truncate(plain.Len() - len(string(lastRune(plain.Bytes()))))
			continue
		}
		plain.WriteRune(r)
	}
	got := strings.Join(strings.Fields(plain.String()), " ")
	for _, c := range config.Usages() {
		if !strings.Contains(got, string(c.Name)+" "+c.Help) {
			t.Errorf("the page does not say of the command %s: %s", c.Name, c.Help)
		}
		for _, f := range c.Flags {
			want := strings.Join(strings.Fields("--"+f.Name+" "+f.Value+" "+f.Help), " ")
			if !strings.Contains(got, want) {
				t.Errorf("the page does not say of %s: %s", c.Name, want)
			}
		}
	}
	if !strings.Contains(got, "rosproxy 1.2.3") {
		t.Error("the page does not say of what version it is")
	}
}

func lastRune(b []byte) rune {
	runes := []rune(string(b))
	return runes[len(runes)-1]
}

func TestPageIsWhatFormattersExpect(t *testing.T) {
	page := filepath.Join(written(t), "rosproxy.8")
	t.Run("mandoc", func(t *testing.T) {
		if said := output(t, "mandoc", "-T", "lint", "-W", "warning", page); said != "" {
			t.Errorf("got %s; want no complaint", said)
		}
	})
	t.Run("man", func(t *testing.T) {
		tool(t, "man")
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil || said.Len() > 0 {
			t.Errorf("got %v, %s; want no complaint", err, &said)
		}
	})
}

// completions are lines of words up to the cursor, what is offered for the last
// of them, and what is not.
var completions = []struct {
	name string
	line []string
	want []string
	not  []string
}{
	{"command", []string{"rosproxy", "stat"}, []string{"status"}, []string{"--listen"}},
	{"flag without a command", []string{"rosproxy", "--on-o"}, []string{"--on-outage"}, []string{"--on-lost"}},
	{"flag of run", []string{"rosproxy", "run", "--hold-t"}, []string{"--hold-timeout"}, []string{"--hold-max"}},
	{"flag of check", []string{"rosproxy", "check", "--conf"}, []string{"--config"}, []string{"--connect-timeout"}},
	{"flag of a client command", []string{"rosproxy", "drain", "--gr"}, []string{"--grace"}, []string{"--drain-timeout"}},
	{"none of run's for a client command", []string{"rosproxy", "status", "--"}, []string{"--admin-token-file"}, []string{"--listen"}},
	{"value", []string{"rosproxy", "--drop", ""}, []string{"rst", "fin"}, []string{"--listen"}},
	{"flag without a value", []string{"rosproxy", "drain", "--wait", "--ti"}, []string{"--timeout"}, nil},
	{"the same flag with one", []string{"rosproxy", "pause", "--wait", ""}, nil, []string{"--settle"}},
	{"file", []string{"rosproxy", "check", "--config", "/etc/host"}, []string{"host.conf", "hosts"}, []string{"passwd"}},
	{"word of an argument", []string{"rosproxy", "datacenter", "act"}, []string{"activate"}, []string{"--admin"}},
	{"command of pause", []string{"rosproxy", "pause", "--", "nsent"}, []string{"nsenter"}, []string{"--wait"}},
}

func TestBashCompletes(t *testing.T) {
	dir := written(t)
	output(t, "bash", "-n", filepath.Join(dir, "rosproxy.bash"))
	for _, c := range completions {
		t.Run(c.name, func(t *testing.T) {
			offers(t, output(t, "bash", append([]string{"--norc", "testdata/complete.bash", dir}, c.line...)...), c.want, c.not)
		})
	}
	t.Run("value behind =", func(t *testing.T) {
		offers(t, output(t, "bash", "--norc", "testdata/complete.bash", dir, "rosproxy", "--drop", "=", "f"), []string{"fin"}, []string{"rst"})
	})
}

func TestZshCompletes(t *testing.T) {
	dir := written(t)
	output(t, "zsh", "-n", filepath.Join(dir, "_rosproxy"))
	for _, c := range completions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			offers(t, output(t, "zsh", "-f", "testdata/complete.zsh", dir, strings.Join(c.line, " ")), c.want, c.not)
		})
	}
}

func TestFishCompletes(t *testing.T) {
	dir := written(t)
	for _, c := range completions {
		t.Run(c.name, func(t *testing.T) {
			offers(t, output(t, "fish", "--no-config", "-c", `source $argv[1]/rosproxy.fish; complete -C "$argv[2]"`, dir, strings.Join(c.line, " ")), c.want, c.not)
		})
	}
}

func offers(t *testing.T, got string, want, not []string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("got %q; want %s offered", got, w)
		}
	}
	for _, n := range not {
		if strings.Contains(got, n) {
			t.Errorf("got %q; want %s not offered", got, n)
		}
	}
}
