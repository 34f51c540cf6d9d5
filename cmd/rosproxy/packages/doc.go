// Package packages has no code of its own, only tests: the packages that make
// builds, installed, upgraded, removed and purged in a clean Debian, and the
// service as the real systemd runs it.
//
// The clean Debian is bin/debian.tar, which make test builds. To install packages
// it is enough to chroot into it, which takes root. For the service it is booted,
// by systemd-nspawn, as a container with a network of its own, once for all tests;
// where that cannot be the tests are skipped and say why. Masters and clients are
// goroutines of the test, with sockets in the container's network.
package packages
