package config

import (
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/documents"
)

// model is the grammar of run and check.
func model(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(new(grammar), kong.Name("rosproxy"))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

func TestReferenceListsEveryFlagWithItsDefault(t *testing.T) {
	text := documents.Section(t, documents.Reference, "## Command line")
	flags := map[string]bool{}
	for _, f := range model(t).Flags {
		if f.Name == "help" {
			continue
		}
		flags[f.Name] = true
		row := regexp.MustCompile("(?m)^\\| `--" + f.Name + "[ `].*$").FindString(text)
		if row == "" {
			t.Errorf("the reference has no row for --%s", f.Name)
		} else if f.HasDefault && !strings.Contains(row, "`"+f.Default+"`") {
			t.Errorf("the reference's row for --%s does not name the default %q:\n%s", f.Name, f.Default, row)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !flags[m[1]] {
			t.Errorf("the reference has a row for --%s, which is no flag", m[1])
		}
	}
}

func TestReferenceListsEveryKeyOfAListener(t *testing.T) {
	documented := documents.Named(documents.Section(t, documents.Reference, "## Configuration file"))
	for _, f := range model(t).Flags {
		if !f.Tag.Has(tagOfListener) {
			continue
		}
		if !documented[f.Name] {
			t.Errorf("the reference does not list the key %s of a listener", f.Name)
		}
		delete(documented, f.Name)
	}
	for left := range documented {
		t.Errorf("the reference lists %s, which is no key of a listener", left)
	}
}

func TestReferenceListsEveryCommand(t *testing.T) {
	text, _, _ := strings.Cut(documents.Section(t, documents.Reference, "## Command line"), "\n| flag ")
	documented := map[string]bool{}
	for name := range documents.Named(text) {
		if name, _, _ = strings.Cut(strings.TrimPrefix(name, "rosproxy "), " "); name == "[run]" {
			name = string(Run)
		}
		if name != "--version" && name != "--help" {
			documented[name] = true
		}
	}
	commands := map[string]bool{string(Help): true}
	for _, c := range model(t).Children {
		commands[c.Name] = true
	}
	for _, c := range clientCommands {
		commands[string(c.name)] = true
	}
	if !maps.Equal(documented, commands) {
		t.Errorf("commands in the reference: got %v; want %v", documented, commands)
	}
}

func TestReferenceNamesEveryClientCommandWithItsFlags(t *testing.T) {
	section := documents.Section(t, documents.Reference, "## Client commands")
	table, _, _ := strings.Cut(section, "\n### ")
	known := map[string]bool{}
	for _, c := range clientCommands {
		known[string(c.name)] = true
		row := regexp.MustCompile("(?m)^\\| `" + string(c.name) + "[ `].*$").FindString(table)
		if row == "" {
			t.Errorf("the reference has no row for %s", c.name)
		}
		k, err := kong.New(c.flags())
		if err != nil {
			t.Fatal(err)
		}
		flags := map[string]bool{}
		for _, f := range k.Model.Flags {
			flags["--"+f.Name] = true
			where := row
			if !f.Tag.Has(tagOnce) {
				where = section
			}
			if f.Name != "help" && !strings.Contains(where, "--"+f.Name) {
				t.Errorf("the reference does not name --%s of %s", f.Name, c.name)
			}
		}
		usage, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, flag := range regexp.MustCompile("--[a-z-]+[a-z]").FindAllString(usage, -1) {
			if !flags[flag] {
				t.Errorf("the reference gives %s the flag %s, which it has not", c.name, flag)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)[ `]").FindAllStringSubmatch(table, -1) {
		if !known[m[1]] {
			t.Errorf("the reference has a row for %s, which is no client command", m[1])
		}
	}
}

// Those that Consul's own client reads, and ours besides.
var environment = []string{
	api.HTTPAddrEnvName, api.HTTPTokenEnvName, api.HTTPTokenFileEnvName, api.HTTPAuthEnvName, api.HTTPSSLEnvName, api.HTTPSSLVerifyEnvName,
	api.HTTPCAFile, api.HTTPCAPath, api.HTTPClientCert, api.HTTPClientKey, api.HTTPTLSServerName, api.HTTPNamespaceEnvName, api.HTTPPartitionEnvName,
	"CONSUL_HOST", "CONSUL_PORT",
	"RUNTIME_DIRECTORY", "TMPDIR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
	"NO_COLOR", "TERM", "USER",
}

func TestReferenceListsEveryVariable(t *testing.T) {
	documented := documents.Named(documents.Section(t, documents.Reference, "### Environment"))
	for _, name := range append(environment, envName("hold-timeout")) {
		if !documented[name] {
			t.Errorf("the reference does not list the variable %s", name)
		}
		delete(documented, name)
	}
	for left := range documented {
		t.Errorf("the reference lists the variable %s, which nothing reads", left)
	}
}
