package documents

import (
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every block of a document that is marked sh or console is run whole in a
// sandbox, as blocks says, or is named by elsewhere with the test that runs the
// same commands. In a block that is marked console, lines that begin with $ are
// commands, and the others are what they print.

// block says how one block is run.
type block struct {
	document string
	begins   string   // its first line
	replaced []string // what stands for what in the sandbox: old and new, in turn
	inRepo   bool     // it is run in the root of the repository
	before   string   // a script that makes what the commands need
	after    string   // a script that fails unless they have done what they should
}

// elsewhere are blocks that are not run here.
var elsewhere = []struct{ document, begins, tests, why string }{
	{Reference, "rosproxy pause --label pg", "cmd/rosproxy/postgresql TestPlannedSwitchoverOfPostgreSQL", "it takes a cluster of PostgreSQL"},
	{"cmd/syncworker/README.md", "syncworker backup", "cmd/syncworker TestBackupFollowsTheMasterThatConsulNames", "it takes a group of workers, which those tests have"},
	{"cmd/syncworker/README.md", "syncworker --label red --id 1 --restore", "cmd/syncworker TestGroupBeginsWithABackup", "the same"},
	{"cmd/syncworker/README.md", "# in dc2, always", "cmd/rosdemo TestRecoveryDemoPasses", "it takes two data centres"},
	{"testdata/README.md", "make packages", "cmd/rosproxy/packages TestDebIsInstalledUpgradedRemovedAndPurged", "it takes a Debian of its own"},
}

func TestEveryCommandInTheDocumentsIsRun(t *testing.T) {
	needSandbox(t)
	for _, document := range documents(t) {
		for _, b := range Blocks(Read(t, document)) {
			if b.Language != "sh" && b.Language != "console" {
				continue
			}
			first, _, _ := strings.Cut(b.Text, "\n")
			isOf := func(d, begins string) bool {
				return d == document && strings.HasPrefix(strings.TrimPrefix(first, "$ "), begins)
			}
			if i := slices.IndexFunc(elsewhere, func(e struct{ document, begins, tests, why string }) bool { return isOf(e.document, e.begins) }); i >= 0 {
				dir, name, _ := strings.Cut(elsewhere[i].tests, " ")
				wantTest(t, dir, name)
				continue
			}
			i := slices.IndexFunc(blocks, func(k block) bool { return isOf(k.document, k.begins) })
			if i < 0 {
				t.Errorf("%s:%d: no test runs this block: give it an entry in blocks, or in elsewhere with the test that runs the same\n%s", document, b.Line, b.Text)
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", strings.ReplaceAll(document, "/", "_"), b.Line), func(t *testing.T) {
				t.Parallel()
				blocks[i].run(t, b)
			})
		}
	}
}

func (k block) run(t *testing.T, b Block) {
	text := strings.NewReplacer(k.replaced...).Replace(b.Text)
	if text == b.Text && len(k.replaced) > 0 {
		t.Errorf("none of %q is in the block", k.replaced)
	}
	dir := ""
	if k.inRepo {
		dir = Root(t)
	}
	const mark = "--- the block ---"
	commands, prints := text, ""
	if b.Language == "console" {
		commands, prints = splitConsole(text)
	}
	output := runScript(t, dir, strings.Join([]string{k.before, "echo '" + mark + "'", commands, "echo '" + mark + "'", k.after}, "\n"))
	parts := strings.Split(output, mark+"\n")
	if b.Language == "console" && len(parts) > 1 && plain(parts[1]) != plain(prints) {
		t.Errorf("got\n%s\nwant, but for numbers,\n%s", parts[1], prints)
	}
}

// splitConsole parts what is typed from what is printed.
func splitConsole(text string) (commands, prints string) {
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands += command
		} else {
			prints += line
		}
	}
	return commands, prints
}

// plain is an output without what differs from run to run.
func plain(text string) string {
	text = regexp.MustCompile(`version \S+`).ReplaceAllString(text, "version V")
	text = regexp.MustCompile(`\d+`).ReplaceAllString(text, "N")
	text = regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")
	return strings.TrimSpace(text)
}

// wantTest wants a test, a fuzz target or a benchmark in a package of the repository.
func wantTest(t *testing.T, dir, pattern string) {
	t.Helper()
	out, err := exec.Command("grep", "-rhoE", "--include=*_test.go", "^func (Test|Fuzz|Benchmark)[A-Za-z0-9_]*", path.Join(root, dir)).Output()
	if err != nil || !regexp.MustCompile(pattern).MatchString(strings.ReplaceAll(string(out), "func ", "")) {
		t.Errorf("%s has no test that matches %q: %v", dir, pattern, err)
	}
}

var goTest = regexp.MustCompile(`go test [^\n` + "`" + `]*?-(?:run|fuzz) '?\^?([A-Z]\w*)\$?'?[^\n` + "`" + `]*? \./(\S+?)[)` + "`" + `,\s]`)

func TestEveryTestThatADocumentNamesIsThere(t *testing.T) {
	named := 0
	for _, document := range documents(t) {
		for _, m := range goTest.FindAllStringSubmatch(Read(t, document), -1) {
			named++
			wantTest(t, m[2], m[1])
		}
	}
	if named < 4 {
		t.Errorf("got %d tests that are named; want more: are they found?", named)
	}
}

// Languages of blocks that are no commands. Those of recipes are held against files.
var otherLanguages = []string{"text", "json", "yaml", "ini", "haproxy", "nginx", "dockerfile"}

// A line of a block that is no command, and looks like one.
var looksTyped = regexp.MustCompile(`^(\$ |(bin/)?(rosproxy|consul|make|curl|systemctl|go|sudo|docker|apt|dpkg|kubectl) )`)

func TestBlocksSayWhatTheyAre(t *testing.T) {
	for _, document := range documents(t) {
		if document == "bench/FAULTS.md" || document == "bench/RESULTS.md" { // written by programs
			continue
		}
		text := Read(t, document)
		for _, b := range Blocks(text) {
			switch {
			case b.Language == "sh" || b.Language == "console":
			case !slices.Contains(otherLanguages, b.Language):
				t.Errorf("%s:%d: a block of %q; want sh or console for commands, else one of %q", document, b.Line, b.Language, otherLanguages)
			case b.Language == "text":
				for line := range strings.Lines(b.Text) {
					if looksTyped.MatchString(line) {
						t.Errorf("%s:%d: a command in a block that is not marked as one:\n%s", document, b.Line, line)
					}
				}
			}
		}
		fenced, before := false, ""
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if !fenced && strings.HasPrefix(line, "    ") && strings.TrimSpace(before) == "" {
				t.Errorf("%s: an indented block, which says no language:\n%s", document, line)
			}
			before = line
		}
	}
}
