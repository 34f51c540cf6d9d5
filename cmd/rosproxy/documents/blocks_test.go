package documents

// Masters of the sandboxes, and rosproxy in front of one of them.
const (
	oneMaster = "start_consul; register 7901 label=default role=master\n"
	proxied   = oneMaster + "rosproxy; eventually curl localhost:7802/readyz\n"
	// An installed rosproxy that nobody waits for, so that it can be upgraded.
	installed = `
cp "$ROSPROXY" /usr/local/bin/rosproxy
cp "$ROSPROXY" rosproxy.new
mkdir /run/rosproxy
master 127.0.0.1:7901 &
RUNTIME_DIRECTORY=/run/rosproxy setsid /usr/local/bin/rosproxy --static-master 127.0.0.1:7901 --log-format json 2>"$OWN/log" & echo $! >pid
eventually curl localhost:7802/readyz
`
	upgraded = "eventually says localhost:7802/status '\"generation\":2'\n"
)

// blocks are run here. What takes a test of its own is made small: fewer inputs, rounds, processes.
var blocks = []block{
	{
		document: "README.md", begins: "make build", before: oneMaster,
	}, {
		document: "README.md", begins: "CONSUL_HOST=", replaced: []string{"consul.example.com", "127.0.0.1"},
		before: oneMaster + "register 7902 label=europe role=master; register 7903 label=asia role=master",
		after:  "eventually reaches 127.0.0.1 7800 127.0.0.1:7902; eventually reaches 127.0.0.1 7801 127.0.0.1:7903",
	}, {
		document: "README.md", begins: "bin/rosproxy --leader-key", before: "start_consul",
		after: `eventually says localhost:7802/status '"source":"leader-key"'`,
	}, {
		document: "README.md", begins: "cat >sync.json", before: "start_consul; master 127.0.0.1:7901 & master 127.0.0.1:7902 &",
		after: `
eventually reaches 127.0.0.1 7800 127.0.0.1:7901
sed -i 's/role=master/role=old/; s/role=slave/role=master/; s/role=old/role=slave/' sync.json
consul services register sync.json
eventually reaches 127.0.0.1 7800 127.0.0.1:7902
`,
	}, {
		document: "README.md", begins: "make test", inRepo: true, replaced: []string{"-fuzztime 30s", "-fuzztime 100x"},
	}, {
		document: Reference, begins: "bin/rosproxy --leader-key", before: "start_consul",
		after: `eventually says localhost:7802/status '"source":"leader-key"'`,
	}, {
		document: Reference, begins: "rosproxy datacenter activate dc2", replaced: []string{"/etc/rosproxy.yaml", "etc/rosproxy.yaml"},
		before: `
start_datacenters
echo 'consul-datacenter: [dc1, dc2]' >etc/rosproxy.yaml
rosproxy datacenter activate dc1 --config etc/rosproxy.yaml
rosproxy --config etc/rosproxy.yaml >run.log 2>&1 &
eventually sh -c 'rosproxy datacenter --config etc/rosproxy.yaml | grep -q "report of"'
`,
	}, {
		document: Reference, begins: "rosproxy --on-failover", replaced: []string{"logger -t failover --", `echo >>"$OWN/told"`},
		before: oneMaster,
		after: `
eventually reaches 127.0.0.1 7800 127.0.0.1:7901
register 7902 label=default role=master
eventually grep 'failover default: 127.0.0.1:7901 -> 127.0.0.1:7902' told
`,
	}, {
		document: Reference, begins: "curl -s localhost:7802/status", replaced: []string{"/etc/rosproxy/token", "etc/token"},
		before: proxied + `
"$ROSPROXY" --admin-listen unix:/run/rosproxy.sock --static-master 127.0.0.1:7901 --listen :7899 2>/dev/null &
eventually curl --unix-socket /run/rosproxy.sock http://rosproxy/readyz
`,
		after: "says localhost:7802/drain drain",
	}, {
		document: Reference, begins: "rosproxy status --admin",
		before: `
start_consul 18500
CONSUL_PORT_USED=18500
register 17901 label=europe role=master; register 17902 label=asia role=master
"$ROSPROXY" --consul-addr 127.0.0.1:18500 --listen europe=127.0.0.1:7800 --listen asia=127.0.0.1:7801 2>/dev/null &
"$ROSPROXY" --consul-addr 127.0.0.1:1 --listen europe=127.0.0.1:7810 --listen asia=127.0.0.1:7811 --static-master europe=127.0.0.1:17901 \
  --admin-listen unix:/run/rosproxy.sock 2>/dev/null &
eventually curl localhost:7802/readyz
eventually curl --unix-socket /run/rosproxy.sock 'http://rosproxy/readyz?label=europe'
exec 4<>/dev/tcp/127.0.0.1/7800 5<>/dev/tcp/127.0.0.1/7800 6<>/dev/tcp/127.0.0.1/7801
for live in 4 5 6; do read -r -t 20 line <&$live; done
sleep 1 # so that it has been up, and answered, for a second
`,
	}, {
		document: Reference, begins: "mv rosproxy.new", replaced: []string{"4711", "$(cat pid)"},
		before: installed, after: upgraded,
	}, {
		document: Reference, begins: "curl -s --unix-socket /run/rosproxy/rosproxy-4711.sock", replaced: []string{"4711.sock", "$(cat pid).sock"},
		before: installed + `
exec 4<>/dev/tcp/127.0.0.1/7800
read -r -t 20 line <&4
kill -USR2 $(cat pid)
` + upgraded + "eventually test -S /run/rosproxy/rosproxy-$(cat pid).sock",
	}, {
		document: Operations, begins: "rosproxy status", before: proxied,
	}, {
		document: "testdata/README.md", begins: "rosproxy --accept-proxy on", replaced: []string{"/etc/rosproxy/token", "etc/token"},
		before: oneMaster, after: "eventually curl 10.77.0.11:7802/readyz",
	}, {
		document: "bench/README.md", begins: "make faults", inRepo: true,
	}, {
		document: "bench/README.md", begins: "make bench", inRepo: true,
		replaced: []string{
			"bin/bench list", `"$OWN/bin/bench" list`, "bin/bench leaderless", `"$OWN/bin/bench" leaderless -n 1 -raft-multiplier 1`,
			"bin/bench reports", `repeatedly "$OWN/bin/bench" reports -processes 2 -ttl 1s -for 1s`, // on a busy machine Consul's leader may change meanwhile
			"go test -run", "go test -race -run", "-count 10", "-benchtime 1x", // what make test has built
		},
		before: `(cd bench && go build -o "$OWN/bin/bench" .)`,
	},
}
