// Package orchestratortest is a double of what orchestrator (MySQL) writes
// into Consul's KV store: the master of a cluster, without a session and
// without a lock.
package orchestratortest

import (
	"fmt"
	"net"
	"strconv"

	"github.com/hashicorp/consul/api"
)

// Prefix is where the keys are, by default (KVClusterMasterPrefix).
const Prefix = "mysql/master/"

// Master is a MySQL server.
type Master struct {
	Hostname string
	Port     int
	IPv4     string // empty: not known
	IPv6     string // empty: not known
}

// Key is the key that says who is master of the cluster: HOSTNAME:PORT.
func Key(alias string) string { return Prefix + alias }

// Submit writes that m is master of the cluster, as orchestrator does after a
// failover, or when it is told to (submit-masters-to-kv-stores): by plain
// writes, the address first, then its parts in keys below it. Written again,
// nothing changes.
func Submit(kv *api.KV, alias string, m Master) error {
	key, port := Key(alias), strconv.Itoa(m.Port)
	for _, pair := range [][2]string{
		{key, m.Hostname + ":" + port}, // without brackets around an IPv6 address, as orchestrator has it
		{key + "/hostname", m.Hostname},
		{key + "/port", port},
		{key + "/ipv4", m.IPv4},
		{key + "/ipv6", m.IPv6},
	} {
		if _, err := kv.Put(&api.KVPair{Key: pair[0], Value: []byte(pair[1])}, nil); err != nil {
			return fmt.Errorf("submit the master of %s: %w", alias, err)
		}
	}
	return nil
}

// At is a master at an IPv4 address and port, HOST:PORT; it panics on anything else.
func At(address string) Master {
	host, port, err := net.SplitHostPort(address)
	n, number := strconv.Atoi(port)
	if err != nil || number != nil || net.ParseIP(host).To4() == nil {
		panic(fmt.Sprintf("orchestratortest: %q is no IPv4 HOST:PORT", address))
	}
	return Master{Hostname: host, Port: n, IPv4: host}
}
