package packages_test

import (
	"slices"
	"strings"
	"testing"
)

const (
	unitEnabled = "/etc/systemd/system/multi-user.target.wants/rosproxy.service"
	edited      = "listeners: [{label: default, listen: \":7811\", static-master: \"127.0.0.1:9000\"}]\n"
)

// In an image or a chroot there is no systemd that runs: nothing starts, and
// nothing fails.
func TestDebIsInstalledUpgradedRemovedAndPurged(t *testing.T) {
	t.Parallel()
	r := unpacked(t)
	before := r.files()
	r.run("dpkg", "--install", r.bring(packageIn(t, built.current, debEnding())))
	r.run("dpkg", "--verify", "rosproxy")
	r.expectUsable()

	r.run("systemctl", "enable", "rosproxy.service")
	r.write("/etc/rosproxy/rosproxy.yaml", edited)
	r.run("dpkg", "--install", r.bring(packageIn(t, built.newer, debEnding())))
	r.expectUpgraded()

	r.run("dpkg", "--remove", "rosproxy")
	if r.has("/usr/bin/rosproxy") || r.has(unitEnabled) {
		t.Error("got program or enabled unit after the removal; want neither")
	}
	if got := r.read("/etc/rosproxy/rosproxy.yaml"); got != edited {
		t.Errorf("configuration after the removal: got %q; want it kept", got)
	}
	r.run("dpkg", "--purge", "rosproxy")
	r.expectOnly(before)
}

func TestRpmIsInstalledUpgradedAndErased(t *testing.T) {
	t.Parallel()
	r := unpacked(t)
	before := r.files()
	rpm := func(args ...string) {
		t.Helper()
		// It knows nothing of what dpkg has installed there.
		output(t, "rpm", append([]string{"--root", r.dir, "--nodeps"}, args...)...)
	}
	rpm("--install", packageIn(t, built.current, rpmEnding()))
	rpm("--verify", "rosproxy")
	r.expectUsable()

	r.run("systemctl", "enable", "rosproxy.service")
	r.write("/etc/rosproxy/rosproxy.yaml", edited)
	rpm("--upgrade", packageIn(t, built.newer, rpmEnding()))
	r.expectUpgraded()

	rpm("--erase", "rosproxy")
	if got := r.read("/etc/rosproxy/rosproxy.yaml.rpmsave"); got != edited {
		t.Errorf("configuration after the removal: got %q; want it saved", got)
	}
	r.expectOnly(append(before, "/etc/rosproxy", "/etc/rosproxy/rosproxy.yaml.rpmsave",
		// Directories of other packages, which are not there.
		"/usr/share/fish", "/usr/share/fish/vendor_completions.d", "/usr/share/zsh/site-functions"))
}

// expectUsable looks at what has just been installed.
func (r root) expectUsable() {
	r.t.Helper()
	for path := range installed {
		if !r.has(path) {
			r.t.Errorf("%s is not there", path)
		}
	}
	if got := r.run("rosproxy", "version"); !strings.HasPrefix(got, "rosproxy ") {
		r.t.Errorf("got %q; want a version", got)
	}
	if r.has(unitEnabled) {
		r.t.Error("the service is enabled; want that left to who configures it")
	}
}

func (r root) expectUpgraded() {
	r.t.Helper()
	if got := strings.Fields(r.run("rosproxy", "version"))[1]; got != newer {
		r.t.Errorf("got version %s; want %s", got, newer)
	}
	if got := r.read("/etc/rosproxy/rosproxy.yaml"); got != edited {
		r.t.Errorf("configuration after the upgrade: got %q; want it kept", got)
	}
	if !r.has(unitEnabled) {
		r.t.Error("the service is no longer enabled after the upgrade")
	}
}

// expectOnly compares what is there with what there was.
func (r root) expectOnly(before []string) {
	r.t.Helper()
	slices.Sort(before)
	after := r.files()
	slices.Sort(after)
	if slices.Equal(before, after) {
		return
	}
	for _, path := range after {
		if _, was := slices.BinarySearch(before, path); !was {
			r.t.Errorf("%s is left", path)
		}
	}
	for _, path := range before {
		if _, is := slices.BinarySearch(after, path); !is {
			r.t.Errorf("%s is gone", path)
		}
	}
}
