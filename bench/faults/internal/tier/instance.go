// Package tier is the instances of rosproxy: the built binary, each on a host of
// its own, and what they say of themselves.
package tier

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// adminPort is that of every instance.
const adminPort = 7900

// Label is a group of masters, as an instance is told of it.
type Label struct {
	Name string
	Port uint16
	Key  string // leader key; empty: it follows tags
	More string // of its entry in the configuration file: ", key: value"
}

// Config is what all instances have in common.
type Config struct {
	Binary string
	Switch string // where clients and masters are
	Labels []Label
	Flags  []string
}

// Instance is one rosproxy, process after process.
type Instance struct {
	Name string
	Host *lan.Host

	config  Config
	dir     string
	args    []string
	consul  []string
	web     *http.Client
	admin   string
	process *lan.Process // that was started; it may have been replaced since
	log     *Log
}

// New makes an instance that is not running yet. It follows the Consul
// addresses; control is the host that asks it.
func New(name string, h, control *lan.Host, dir string, c Config, consul ...string) (*Instance, error) {
	i := &Instance{
		Name: name, Host: h, config: c, consul: consul, dir: filepath.Join(dir, name), web: control.Web(5 * time.Second),
		admin: fmt.Sprintf("http://%v:%d", h.IP(c.Switch), adminPort),
	}
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		return nil, err
	}
	text := "listeners:\n"
	for _, l := range c.Labels {
		source := "service: sync"
		if l.Key != "" {
			source = "leader-key: " + l.Key
		}
		text += fmt.Sprintf("  - {label: %s, listen: \":%d\", %s%s}\n", l.Name, l.Port, source, l.More)
	}
	file := filepath.Join(i.dir, "config.yaml")
	i.args = append([]string{
		c.Binary, "--config=" + file, "--instance=" + name, "--log-format=json", "--log-connections",
		fmt.Sprintf("--admin-listen=%v:%d", h.IP(c.Switch), adminPort), "--admin-token-file=" + i.token("admin"),
	}, c.Flags...)
	for _, a := range consul {
		i.args = append(i.args, "--consul-addr="+a)
	}
	i.log = &Log{path: filepath.Join(i.dir, "log")}
	return i, os.WriteFile(file, []byte(text), 0o644)
}

func (i *Instance) token(of string) string { return filepath.Join(i.dir, of+"-token") }

// adminToken is what its admin endpoints want.
const adminToken = "open"

// SetToken gives the instance another token for Consul. It reads that anew.
func (i *Instance) SetToken(secret string) error {
	next := i.token("next")
	if err := os.WriteFile(next, []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, i.token("consul"))
}

// Start starts the instance, unless it runs.
func (i *Instance) Start() (err error) {
	if len(i.PIDs()) > 0 {
		return nil
	}
	if err := os.WriteFile(i.token("admin"), []byte(adminToken+"\n"), 0o600); err != nil {
		return err
	}
	env := []string{"CONSUL_HTTP_TOKEN_FILE=" + i.token("consul"), "RUNTIME_DIRECTORY=" + i.dir, "GOMAXPROCS=2"}
	i.process, err = i.Host.Start(i.log.path, env, i.args...)
	return err
}

// ToConsul counts its connections to each Consul address that it follows.
func (i *Instance) ToConsul() (map[string]int, error) {
	counts := map[string]int{}
	for _, a := range i.consul {
		sockets, err := i.Host.Sockets(netip.MustParseAddrPort(a))
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if !s.Orphan {
				counts[a]++
			}
		}
	}
	return counts, nil
}

// PIDs are its processes: more than one while generations drain.
func (i *Instance) PIDs() []int { return i.Host.PIDs(filepath.Base(i.config.Binary)) }

// AwaitReady waits until the instance says that it is ready.
func (i *Instance) AwaitReady(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		code, body, err := i.ask(http.MethodGet, "/readyz", nil)
		if err == nil && code == http.StatusOK {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s to be ready: %d %s, %w", i.Name, code, body, err)
		}
		if !i.process.Alive() && len(i.PIDs()) == 0 {
			said, _ := os.ReadFile(i.log.path)
			return fmt.Errorf("%s has ended: %s: %s", i.Name, i.process.How(), said[max(0, len(said)-2000):])
		}
	}
}

// Kill ends all its processes like a crash.
func (i *Instance) Kill() error { return i.each(syscall.SIGKILL) }

func (i *Instance) each(s syscall.Signal) error {
	for _, pid := range i.PIDs() {
		if err := lan.Signal(pid, s); err != nil {
			return err
		}
	}
	return nil
}

// Freeze stops all its processes.
func (i *Instance) Freeze() error {
	for _, pid := range i.PIDs() {
		if err := lan.Freeze(pid); err != nil {
			return err
		}
	}
	return nil
}

// Thaw lets them go on.
func (i *Instance) Thaw() error { return i.each(syscall.SIGCONT) }

// Upgrade has the newest process replace itself, and returns at once.
func (i *Instance) Upgrade() error {
	s, err := i.Status()
	if err != nil {
		return err
	}
	return lan.Signal(s.PID, syscall.SIGUSR2)
}

// Drain starts a drain that ends with the process, or not.
func (i *Instance) Drain(exit bool) error {
	path := "/drain?grace=200ms&timeout=1m"
	if exit {
		path += "&exit=true"
	}
	return i.must(http.MethodPost, path, http.StatusAccepted)
}

// Undrain ends a drain.
func (i *Instance) Undrain() error { return i.must(http.MethodDelete, "/drain", http.StatusOK) }

func (i *Instance) must(method, path string, want int) error {
	code, body, err := i.ask(method, path, nil)
	if err == nil && code != want {
		err = fmt.Errorf("%d %s; want %d", code, body, want)
	}
	if err != nil {
		return fmt.Errorf("%s of %s %s: %w", method, i.Name, path, err)
	}
	return nil
}

// ask asks an admin endpoint of the newest process, and decodes its JSON into v.
func (i *Instance) ask(method, path string, v any) (int, string, error) {
	return ask(i.web, method, i.admin+path, v)
}

func ask(web *http.Client, method, url string, v any) (int, string, error) {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	answer, err := web.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && v != nil {
		err = json.Unmarshal(text, v)
	}
	return answer.StatusCode, string(text), err
}

// older is an HTTP client for a generation that drains.
func (i *Instance) older(pid int) *http.Client {
	socket := filepath.Join(i.dir, fmt.Sprintf("rosproxy-%d.sock", pid))
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// Address is where the clients of a label connect.
func (i *Instance) Address(label string) netip.AddrPort {
	n := slices.IndexFunc(i.config.Labels, func(l Label) bool { return l.Name == label })
	return netip.AddrPortFrom(i.Host.IP(i.config.Switch), i.config.Labels[n].Port)
}
