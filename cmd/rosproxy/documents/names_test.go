package documents

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var flagName = regexp.MustCompile(`(?:^|[\s=(\[|])(--[a-z][a-z-]*[a-z])`)

// Flags that documents name and that are not rosproxy's, but for those of blocks that are run.
var otherFlags = map[string]string{
	"--restore": "syncworker", "--restore-over": "syncworker", "--warm-spare": "syncworker", "--every": "syncworker", "--from": "syncworker",
	"--compressed": "curl", "--install": "dpkg", "--now": "systemctl",
}

func TestEveryFlagThatADocumentNamesIsThere(t *testing.T) {
	known := map[string]bool{}
	helps := []string{"--help"}
	for i := 0; i < len(helps); i++ {
		out, err := exec.Command(built, "help", helps[i]).CombinedOutput()
		if err != nil {
			t.Fatalf("help %s: %v\n%s", helps[i], err, out)
		}
		for _, m := range flagName.FindAllStringSubmatch(string(out), -1) {
			known[m[1]] = true
		}
		if i == 0 {
			helps = append(helps, commandsIn(string(out))...)
		}
	}
	known["--version"], known["--help"] = true, true
	if len(helps) < 8 || len(known) < 50 {
		t.Fatalf("got %d commands, %d flags; want more: are they found?", len(helps), len(known))
	}
	for _, document := range documents(t) {
		for _, span := range codeSpan.FindAllString(withoutBlocks(Read(t, document)), -1) {
			for _, m := range flagName.FindAllStringSubmatch(strings.Trim(span, "`"), -1) {
				if flag := m[1]; !known[flag] && otherFlags[flag] == "" {
					t.Errorf("%s names %s in %s, which no command of rosproxy has", document, flag, span)
				}
			}
		}
	}
}

// commandsIn are the commands that help lists.
func commandsIn(help string) (commands []string) {
	_, list, _ := strings.Cut(help, "Commands:\n")
	for line := range strings.Lines(list) {
		if m := regexp.MustCompile(`^  ([a-z][a-z-]+)\b`).FindStringSubmatch(line); m != nil && !slices.Contains(commands, m[1]) {
			commands = append(commands, m[1])
		}
	}
	return commands
}

// withoutBlocks is a document without its fenced blocks.
func withoutBlocks(text string) string {
	for _, b := range Blocks(text) {
		text = strings.Replace(text, b.Text, "", 1)
	}
	return text
}

// A metric by its whole name, or by the end that all counters have.
var metricName = regexp.MustCompile("`(?:rosproxy_([a-z_]+)|([a-z_]+_total))(?:\\{[^`]*)?`")

func TestEveryMetricThatADocumentNamesIsThere(t *testing.T) {
	known := Named(Section(t, Reference, "## Metrics"))
	answers := Section(t, Reference, "### Answers") // some of whose fields end as counters do
	named := 0
	for _, document := range documents(t) {
		for _, m := range metricName.FindAllStringSubmatch(withoutBlocks(Read(t, document)), -1) {
			named++
			name := m[1] + m[2]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && known[base] {
					name = base
				}
			}
			if isField := strings.Contains(answers, `"`+name+`":`); name != "" && !known[name] && !isField {
				t.Errorf("%s names the metric %s, which there is not", document, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("got %d metrics that are named; want more: are they found?", named)
	}
}
