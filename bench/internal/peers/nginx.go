package peers

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// nginxModule is where Debian's libnginx-mod-stream puts it.
const nginxModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

const nginxConfig = `
load_module %s;
daemon off;
%spid %s/nginx.pid;
error_log stderr error;
worker_processes %d;
worker_rlimit_nofile 20000;
events {
    worker_connections 19000;
}
stream {
    access_log off;
    proxy_connect_timeout 2s;
    proxy_timeout 1h;
%s}
`

func startNginx(o Options, routes []route) (*Proxy, error) {
	user := "user root;\n" // else its workers become nobody, who may not have what root has
	if o.User != nil {
		user = ""
	}
	config, err := writeConfig(o.Dir, "nginx.conf", fmt.Sprintf(nginxConfig, nginxModule, user, o.Dir, runtime.NumCPU(), nginxServers(o, routes)))
	if err != nil {
		return nil, err
	}
	process, err := proc.Start(proc.Options{Log: filepath.Join(o.Dir, "nginx.log"), User: o.User}, "nginx", "-p", o.Dir, "-e", "stderr", "-c", config)
	if err != nil {
		return nil, err
	}
	return &Proxy{process: process, workers: runtime.NumCPU()}, nil
}

func nginxServers(o Options, routes []route) string {
	var servers strings.Builder
	for _, r := range routes {
		fmt.Fprintf(&servers, "    server {\n        listen %s backlog=65535;\n        proxy_pass %s;\n", r.at, r.to)
		if o.Header {
			servers.WriteString("        proxy_protocol on;\n")
		}
		servers.WriteString("    }\n")
	}
	return servers.String()
}
