package main

import (
	"runtime"
	"runtime/debug"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/admin"
)

// release is the version that this source is, or leads to: the newest of
// CHANGELOG.md. The Makefile reads it here, for the packages.
var release = "0.2.0"

// revision is set by the Makefile, -ldflags "-X main.revision=94d38a0". Without
// it what Go noted of the repository counts.
var revision string

// build is what the build says of the program.
func build() admin.Build {
	b := admin.Build{Revision: revision, Go: runtime.Version()}
	tagged := false
	if info, ok := debug.ReadBuildInfo(); ok {
		tagged = info.Main.Version == "v"+release
		if b.Revision == "" {
			b.Revision = revisionOf(info.Settings)
		}
	}
	b.Version = versionOf(b.Revision, tagged)
	return b
}

// versionOf is a semantic version: the release, and the revision as its build
// metadata unless the revision is the one that has the release's tag.
func versionOf(revision string, tagged bool) string {
	if revision == "" || tagged {
		return release
	}
	return release + "+" + revision
}

// revisionOf is what Go noted, in the form of git describe --dirty=.dirty.
func revisionOf(settings []debug.BuildSetting) (revision string) {
	const short = 7
	dirty := ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(short, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ".dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + dirty
}
