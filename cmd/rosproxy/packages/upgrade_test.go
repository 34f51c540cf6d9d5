package packages_test

import (
	"strings"
	"testing"
)

func TestUpgradeOfThePackageReloadsTheService(t *testing.T) {
	s := installedService(t)
	s.configure(strings.Replace(configured, "drain-timeout: 3s", "drain-timeout: 5m", 1))
	s.start()
	live, old := s.connect(), s.mainPID()
	s.install(built.newer)
	if got := s.mainPID(); got == old {
		t.Errorf("got the main process of before the upgrade; want a new one")
	}
	if got := s.run("rosproxy", "status", "--json"); !strings.Contains(got, `"`+newer+`"`) {
		t.Errorf("got status %s; want version %s", got, newer)
	}
	live.isAlive()
	s.connect().isAlive()
}

// A running process that cannot be replaced is told of, and goes on.
func TestUpgradeOfThePackageSaysWhenTheServiceGoesOn(t *testing.T) {
	s := installedService(t)
	s.start()
	live := s.connect()
	s.configure("listners: []\n")
	out := s.install(built.newer)
	if !strings.Contains(out, "could not be replaced") {
		t.Errorf("got %s; want to be told that the old process goes on", out)
	}
	live.isAlive()
}

func TestUpgradeOfThePackageStartsNothing(t *testing.T) {
	s := installedService(t)
	s.install(built.newer)
	if got := s.show("ActiveState"); got != "inactive" {
		t.Errorf("got %s; want inactive, as before the upgrade", got)
	}
}

func TestRemovalOfThePackageStopsTheService(t *testing.T) {
	s := installedService(t)
	s.run("systemctl", "enable", "--now", "rosproxy.service")
	s.connect().Close()
	out := s.run("dpkg", "--purge", "rosproxy")
	if s.has(unitEnabled) || s.has("/run/rosproxy") {
		t.Errorf("got something left of the service after the purge: %s", out)
	}
	if got, _ := s.try("systemctl", "show", "--property", "LoadState,ActiveState", "--value", "rosproxy.service"); got != "not-found\ninactive" {
		t.Errorf("got %q after the purge; want a service that is not there", got)
	}
}
