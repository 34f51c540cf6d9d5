package upgrade

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParentThatWaitsForbidsAnUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		process process
		says    string // empty: it may
	}{
		"the first of a container":            {process{pid: 1, parent: 0}, "PID 1"},
		"the main process of a pod":           {process{pid: 7, parent: 0}, "outside of its PID namespace"},
		"tini":                                {process{pid: 7, parent: 1, name: "tini"}, "its parent, tini (process 1), waits"},
		"docker run --init":                   {process{pid: 7, parent: 1, name: "docker-init"}, "docker-init"},
		"supervisord":                         {process{pid: 70, parent: 60, name: "supervisord"}, "its parent, supervisord (process 60), waits"},
		"a name that the kernel cuts":         {process{pid: 70, parent: 60, name: "supervise-daemo"}, "supervise-daemo"},
		"a container of the host's namespace": {process{pid: 70, parent: 60, name: "containerd-shim"}, "containerd-shim"},
		"pm2":                                 {process{pid: 70, parent: 60, name: "PM2 v5.3.0: God"}, "PM2"},
		"supervisord below systemd":           {process{pid: 70, parent: 60, name: "supervisord", notified: true}, "supervisord"},
		"an entrypoint script":                {process{pid: 7, group: 1, parent: 1, parentGroup: 1, name: "sh"}, "its parent, sh, is PID 1"},
		"a program that is PID 1":             {process{pid: 7, group: 7, parent: 1, parentGroup: 1, name: "entrypoint"}, "its parent, entrypoint, is PID 1"},
		"a unit that is not Type=notify":      {process{pid: 70, parent: 1, name: "systemd", byUnit: true}, "not Type=notify"},

		"a unit that is":                           {process{pid: 70, parent: 1, name: "systemd", byUnit: true, notified: true}, ""},
		"a user's unit":                            {process{pid: 70, parent: 600, name: "systemd", byUnit: true, notified: true}, ""},
		"adopted by systemd before it looked":      {process{pid: 70, parent: 1, name: "systemd"}, ""},
		"adopted by init before it looked":         {process{pid: 70, parent: 1, name: "init"}, ""},
		"adopted by another one before it looked":  {process{pid: 7, session: 5, parent: 1, parentSession: 1, name: "entrypoint"}, ""},
		"a job of a shell":                         {process{pid: 70, group: 70, parent: 60, parentGroup: 60, name: "bash"}, ""},
		"a job of the shell that is PID 1":         {process{pid: 7, group: 7, parent: 1, parentGroup: 1, name: "bash"}, ""},
		"a script, which may do more when it ends": {process{pid: 70, group: 60, parent: 60, parentGroup: 60, name: "sh"}, ""},
		"a program that is nobody's supervisor":    {process{pid: 70, parent: 60, name: "python3"}, ""},
		"a predecessor":                            {process{pid: 70, parent: 60, name: "rosproxy"}, ""},
		"a parent that cannot be seen":             {process{pid: 70, parent: 1}, ""},
	} {
		err := c.process.forbids()
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: got %v; want it to be allowed", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: got %v; want an error that says %q", name, err, c.says)
		}
	}
}

func TestNameIsThatOfTheScriptWhereAnInterpreterRunsOne(t *testing.T) {
	for _, c := range []struct{ comm, cmdline, want string }{
		{"tini", "/sbin/tini|--|rosproxy", "tini"},
		{"python3", "/usr/bin/python3|/usr/bin/supervisord|-n", "supervisord"},
		{"python3.11", "/usr/bin/python3|-u|-E|/usr/bin/supervisord", "supervisord"},
		{"python3", "python3|-m|supervisor.supervisord", "supervisord"},
		{"ruby", "ruby|/usr/local/bin/foreman|start", "foreman"},
		{"python3", "python3|run.py|supervisord", "python3"},
		{"python3", "python3|-c|supervisord", "python3"},
		{"python3", "python3", "python3"},
		{"python3", "", "python3"},
		{"bash", "bash|/usr/bin/supervisord", "bash"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"comm": c.comm + "\n", "cmdline": strings.ReplaceAll(c.cmdline, "|", "\x00") + "\x00"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := nameOf(dir); got != c.want {
			t.Errorf("%s, %s: got %q; want %q", c.comm, c.cmdline, got, c.want)
		}
	}
	if got := nameOf("/does/not/exist"); got != "" {
		t.Errorf("got %q; want no name", got)
	}
}
