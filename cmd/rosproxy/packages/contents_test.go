package packages_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// installed is what every package brings, and with which mode.
var installed = map[string]string{
	"/usr/bin/rosproxy":                                  "-rwxr-xr-x",
	"/usr/lib/systemd/system/rosproxy.service":           "-rw-r--r--",
	"/usr/lib/systemd/system/rosproxy.socket":            "-rw-r--r--",
	"/etc/rosproxy/rosproxy.yaml":                        "-rw-r--r--",
	"/etc/default/rosproxy":                              "-rw-r--r--",
	"/usr/share/man/man8/rosproxy.8.gz":                  "-rw-r--r--",
	"/usr/share/bash-completion/completions/rosproxy":    "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/rosproxy.fish": "-rw-r--r--",
	"/usr/share/doc/rosproxy/copyright":                  "-rw-r--r--",
	"/usr/share/doc/rosproxy/CHANGELOG.md":               "-rw-r--r--",
}

var configuration = []string{"/etc/default/rosproxy", "/etc/rosproxy/rosproxy.yaml"}

const (
	zshOfDebian = "/usr/share/zsh/vendor-completions/_rosproxy"
	zshOfOthers = "/usr/share/zsh/site-functions/_rosproxy"
)

// filesOf reads a listing in the form of ls -l, in which the last word is the path.
func filesOf(listing string) map[string]string {
	files := map[string]string{}
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		if len(words) > 5 && words[0][0] == '-' {
			files[strings.TrimPrefix(words[len(words)-1], ".")] = words[0]
			if !strings.HasPrefix(words[1], "root/root") && !(words[2] == "root" && words[3] == "root") {
				files[words[len(words)-1]] = "not of root: " + line
			}
		}
	}
	return files
}

func expectFiles(t *testing.T, got map[string]string, zsh string) {
	t.Helper()
	for path, mode := range installed {
		if got[path] != mode {
			t.Errorf("%s: got %q; want %s", path, got[path], mode)
		}
	}
	if got[zsh] == "" {
		t.Errorf("got no %s", zsh)
	}
	if len(got) != len(installed)+1 {
		t.Errorf("got %d files, %v; want %d", len(got), got, len(installed)+1)
	}
}

func TestDebHasItsFiles(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			file := packageIn(t, built.current, "_"+arch+".deb")
			expectFiles(t, filesOf(output(t, "dpkg-deb", "--contents", file)), zshOfDebian)
			control := t.TempDir()
			output(t, "dpkg-deb", "--control", file, control)
			conffiles, err := os.ReadFile(filepath.Join(control, "conffiles"))
			if got := strings.Join(strings.Fields(string(conffiles)), " "); err != nil || got != strings.Join(configuration, " ") {
				t.Errorf("conffiles: got %q, %v; want %q", got, err, configuration)
			}
			root := t.TempDir()
			output(t, "dpkg-deb", "--extract", file, root)
			expectStatic(t, filepath.Join(root, "usr/bin/rosproxy"), arch)
			if got := strings.TrimSpace(output(t, "dpkg-deb", "--field", file, "Architecture")); got != arch {
				t.Errorf("architecture: got %s; want %s", got, arch)
			}
		})
	}
}

func TestRpmHasItsFiles(t *testing.T) {
	for arch, word := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			file := packageIn(t, built.current, "."+word+".rpm")
			expectFiles(t, filesOf(output(t, "rpm", "-qplv", file)), zshOfOthers)
			if got := strings.Join(strings.Fields(output(t, "rpm", "-qpc", file)), " "); got != strings.Join(configuration, " ") {
				t.Errorf("configuration files: got %q; want %q", got, configuration)
			}
			if got := output(t, "rpm", "-qp", "--queryformat", "%{ARCH}", file); got != word {
				t.Errorf("architecture: got %s; want %s", got, word)
			}
			output(t, "rpm", "--checksig", file)
		})
	}
}

// expectStatic wants a program that asks for no loader and no library.
func expectStatic(t *testing.T, path, arch string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		t.Errorf("machine: got %v; want %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program has a segment %v; want a static one", p.Type)
		}
	}
}

// The packages, the program in them and the source say the same version.
func TestPackagesHaveTheVersionOfTheProgram(t *testing.T) {
	file := packageIn(t, built.current, debEnding())
	root := t.TempDir()
	output(t, "dpkg-deb", "--extract", file, root)
	version := strings.Fields(output(t, filepath.Join(root, "usr/bin/rosproxy"), "version"))[1]
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(\+[0-9a-f]{7}(\.dirty)?)?$`).MatchString(version) {
		t.Errorf("got version %s; want a release, and its revision unless it is tagged", version)
	}
	if got := strings.TrimSpace(output(t, "dpkg-deb", "--field", file, "Version")); got != version {
		t.Errorf(".deb: got version %s; want %s", got, version)
	}
	if got := output(t, "rpm", "-qp", "--queryformat", "%{VERSION}", packageIn(t, built.current, rpmEnding())); got != version {
		t.Errorf(".rpm: got version %s; want %s", got, version)
	}
}

// A comment in the file that is a setting begins with #, without a space behind it.
func TestCommentedSettingsAreRight(t *testing.T) {
	root := t.TempDir()
	output(t, "dpkg-deb", "--extract", packageIn(t, built.current, debEnding()), root)
	file := filepath.Join(root, "etc/rosproxy/rosproxy.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(all, regexp.MustCompile(`(?m)^( *)#(\S)`).ReplaceAll(text, []byte("$1$2")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{file, all} {
		// Nobody listens there: check fails, and not for the file.
		cmd := program(t, root, "check", "--config", file, "--consul-addr", "127.0.0.1:1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("check --config %s: got %v, %s; want exit status 1 for want of Consul", filepath.Base(file), err, out)
		}
	}
}
