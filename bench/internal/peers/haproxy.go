package peers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

const haproxyGlobal = `
global
    nbthread %d
    maxconn 8100
    maxpipes 1700
    stats socket %s mode 600 level admin

defaults
    mode tcp
    option splice-auto
    timeout connect 2s
    timeout client 1h
    timeout server 1h
`

// With Consul: the instances that are registered with the tag master, by DNS
// SRV, asked for each second.
const haproxyConsul = `    server-template s 2 _sync._master.service.consul resolvers consul resolve-prefer ipv4 init-addr none on-marked-down shutdown-sessions

resolvers consul
    nameserver agent %s
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    hold obsolete 0s
    hold nx 0s
    hold other 1s
    hold refused 1s
    hold timeout 1s
`

func haproxyConfig(o Options, routes []route, admin string) string {
	text := fmt.Sprintf(haproxyGlobal, runtime.NumCPU(), admin)
	for i, r := range routes {
		backend := "be"
		if i > 0 {
			backend = "be_" + r.name
		}
		text += fmt.Sprintf("\nfrontend fe_%s\n    bind %s\n    default_backend %s\n\nbackend %s\n", r.name, r.at, backend, backend)
		if o.ConsulDNS == "" {
			text += "    server s1 " + r.to
			if o.Header {
				text += " send-proxy"
			}
			text += "\n"
		}
	}
	if o.ConsulDNS != "" { // there is one backend
		text += fmt.Sprintf(haproxyConsul, o.ConsulDNS)
	}
	return text
}

func startHAProxy(o Options, routes []route) (*Proxy, error) {
	admin := filepath.Join(o.Dir, "haproxy.sock")
	config, err := writeConfig(o.Dir, "haproxy.cfg", haproxyConfig(o, routes, admin))
	if err != nil {
		return nil, err
	}
	// -db: in the foreground, and no master process.
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "haproxy.log"), User: o.User}, "haproxy", "-db", "-f", config)
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process, admin: admin}, nil
}

// ShutdownSessions has HAProxy cut the connections to its only server, and
// returns when it says that it has.
func (p *Proxy) ShutdownSessions() error {
	c, err := net.Dial("unix", p.admin)
	if err != nil {
		return fmt.Errorf("reach HAProxy's admin socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "shutdown sessions server be/s1\n"); err != nil {
		return fmt.Errorf("order HAProxy to shut its sessions down: %w", err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("order HAProxy to shut its sessions down: %w", err)
	}
	if said := strings.TrimSpace(string(answer)); said != "" {
		return errors.New("HAProxy: " + said)
	}
	return nil
}
