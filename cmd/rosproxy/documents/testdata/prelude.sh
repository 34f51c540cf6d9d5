# What commands of the documents find: bin/rosproxy, consul and masters, addresses
# of the recipes, and an empty /run and /usr/local/bin.
set -eu
unset -v $(compgen -v | grep -E '^(ROSPROXY_|CONSUL_)') || true

ip link set lo up
for a in 10.0.0.1 10.0.0.2 10.77.0.10 10.77.0.11 10.77.0.12; do ip address add $a/32 dev lo; done
mount -t tmpfs none /run
mount -t tmpfs none /usr/local/bin

mkdir -p "$OWN/bin" "$OWN/etc"
echo secret >"$OWN/etc/token"
PATH=$OWN/bin:$PATH
ln -s "$CONSUL" "$OWN/bin/consul"

# rosproxy, in the foreground but for `run`: that returns when it accepts, and the
# one before, if there is one, has ended in good order.
cat >"$OWN/bin/rosproxy" <<EOF
#!/bin/bash
case "\${1-}" in
  '' | run | --*) [[ \${1-} == --version || \${1-} == --help ]] && exec "$ROSPROXY" "\$@" ;;
  *) exec "$ROSPROXY" "\$@" ;;
esac
if [ -f "$OWN/pid" ]; then
  pid=\$(cat "$OWN/pid")
  kill -TERM \$pid
  for _ in \$(seq 100); do grep -q '"stopped"' "$OWN/log" && break; sleep .1; done
fi
ROSPROXY_LOG_FORMAT=json ROSPROXY_DRAIN_GRACE=0s "$ROSPROXY" "\$@" 2>"$OWN/log" >/dev/null &
echo \$! >"$OWN/pid"
for _ in \$(seq 200); do
  grep -q '"label".*listener opened' "$OWN/log" && exit 0
  kill -0 \$! || break
  sleep .1
done
cat "$OWN/log" >&2
exit 1
EOF
# make, dry: what it would run is run by make test, or takes too long here.
cat >"$OWN/bin/make" <<EOF
#!/bin/bash
exec $(command -v make) --directory="$ROOT" --dry-run "\$@" >/dev/null
EOF
# curl, which takes an answer that is no success for a failure.
cat >"$OWN/bin/curl" <<EOF
#!/bin/bash
exec $(command -v curl) --fail "\$@"
EOF
cat >"$OWN/bin/master" <<EOF
#!/bin/bash
exec env ROSPROXY_TEST_AS_MASTER=1 "$TEST" "\$@"
EOF
chmod +x "$OWN"/bin/*

# eventually COMMAND...: until it succeeds.
eventually() {
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep .1; done
  echo "waited in vain for: $*"
  cat "$OWN/log" 2>/dev/null || true
  return 1
}

# repeatedly COMMAND...: a few times, until it succeeds.
repeatedly() {
  for _ in 1 2 3 4; do "$@" && return 0; done
  "$@"
}

# start_consul [PORT]: the agent of this host.
start_consul() {
  consul agent -dev -bind 127.0.0.1 -http-port "${1-8500}" -dns-port -1 -grpc-port -1 -grpc-tls-port -1 -log-level err >"$OWN/consul.log" 2>&1 &
  eventually curl -s "127.0.0.1:${1-8500}/v1/health/service/consul?passing=1&wait=1s"
  eventually sh -c "curl -s 127.0.0.1:${1-8500}/v1/catalog/nodes | grep -q Address"
}

# start_datacenters: dc1, with the agent of this host, and dc2, joined over the WAN.
start_datacenters() {
  local ports="-dns-port -1 -grpc-port -1 -grpc-tls-port -1"
  consul agent -dev -bind 127.0.0.1 -datacenter dc1 -node one $ports -log-level err >"$OWN/dc1.log" 2>&1 &
  consul agent -dev -bind 127.0.0.1 -datacenter dc2 -node two $ports -http-port 9500 -server-port 9300 -serf-lan-port 9301 \
    -serf-wan-port 9302 -retry-join-wan 127.0.0.1:8302 -retry-interval-wan 1s -log-level err >"$OWN/dc2.log" 2>&1 &
  eventually sh -c 'curl -s "127.0.0.1:8500/v1/catalog/nodes?dc=dc2" | grep -q Address'
  eventually sh -c 'curl -s "127.0.0.1:8500/v1/catalog/nodes?dc=dc1" | grep -q Address'
}

# register PORT TAG...: a master, and its registration as sync.
register() {
  local port=$1 tags
  shift
  master "127.0.0.1:$port" &
  tags=$(printf ',"%s"' "$@")
  curl -s -X PUT "127.0.0.1:${CONSUL_PORT_USED-8500}/v1/agent/service/register" \
    --data "{\"Name\":\"sync\",\"ID\":\"sync-$port\",\"Address\":\"127.0.0.1\",\"Port\":$port,\"Tags\":[${tags#,}]}"
}

# greeting HOST PORT: who is reached there.
greeting() {
  exec 3<>"/dev/tcp/$1/$2"
  read -r -t 20 line <&3
  exec 3>&-
  echo "$line"
}

reaches() { [ "$(greeting "$1" "$2")" = "master at $3" ]; }
says() { curl -s "$1" | grep -q "$2"; }
logged() { grep -q "$1" "$OWN/log"; }
