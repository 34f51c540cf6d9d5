#!/bin/sh
# dpkg says "remove" or "upgrade", rpm how many versions will be left. An upgrade
# leaves the service running.
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null || exit 0
systemctl --quiet disable rosproxy.socket rosproxy.service
if [ -d /run/systemd/system ]; then
	systemctl stop rosproxy.socket rosproxy.service # which drains: until --drain-timeout at most
fi
exit 0
