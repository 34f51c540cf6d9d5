#!/bin/sh
# dpkg says "configure OLD-VERSION", rpm how many versions are installed.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
case "$1:$2" in
configure: | 1:)
	echo 'rosproxy: not started. Edit /etc/rosproxy/rosproxy.yaml, then: systemctl enable --now rosproxy'
	exit 0
	;;
configure:* | [2-9]:*) ;;
*) exit 0 ;;
esac
# The new binary takes the sockets over, and the old process drains.
systemctl is-active --quiet rosproxy.service || exit 0
main() { systemctl show --property MainPID --value rosproxy.service; }
before=$(main)
systemctl reload rosproxy.service || :
replaced() { [ "$(main)" != "$before" ]; }
replaced || sleep 1
if ! replaced; then
	echo 'rosproxy: the running process could not be replaced, and goes on. Why: systemctl status rosproxy' >&2
fi
