package peers

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

func startRosproxy(o Options, routes []route) (*Proxy, error) {
	admin := filepath.Join(o.Dir, "rosproxy.sock")
	args := []string{"--admin-listen", "unix:" + admin, "--log-level", "warn"}
	if len(o.Labels) > 0 {
		file, err := writeConfig(o.Dir, "rosproxy.yaml", labelsFile(routes))
		if err != nil {
			return nil, err
		}
		args = append(args, "--config", file)
	}
	for _, r := range routes {
		if len(o.Labels) == 0 {
			args = append(args, "--listen", r.name+"="+r.at.String())
		}
		if o.Consul == "" {
			args = append(args, "--static-master", r.name+"="+r.to)
		}
	}
	if o.Header {
		args = append(args, "--send-proxy", "v1")
	}
	if o.SocketBuffer > 0 {
		args = append(args, "--socket-buffer", strconv.Itoa(o.SocketBuffer))
	}
	if o.Consul != "" {
		args = append(args, "--consul-addr", o.Consul)
	}
	if o.Service != "" {
		args = append(args, "--service", o.Service)
	}
	if o.LeaderKey != "" {
		args = append(args, "--leader-key", o.LeaderKey, "--leader-format", "address", "--leader-lock", "required")
	}
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "rosproxy.log"), User: o.User}, o.Rosproxy, args...)
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process, admin: admin}, nil
}

// labelsFile is a configuration file with a listener for each route.
func labelsFile(routes []route) string {
	var b strings.Builder
	b.WriteString("listeners:\n")
	for _, r := range routes {
		b.WriteString("  - {label: " + r.name + ", listen: \"" + r.at.String() + "\"}\n")
	}
	return b.String()
}
