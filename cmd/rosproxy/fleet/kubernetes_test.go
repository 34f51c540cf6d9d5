package fleet_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// pod is what these tests want of the Deployment's template.
type pod struct {
	TerminationGrace int `yaml:"terminationGracePeriodSeconds"`
	Containers       []struct {
		Args  []string
		Ports []struct {
			Name   string
			Number string `yaml:"containerPort"`
		}
		Readiness probe `yaml:"readinessProbe"`
		Liveness  probe `yaml:"livenessProbe"`
	}
}

// probe is one of the kubelet's.
type probe struct {
	Get      struct{ Path, Port string } `yaml:"httpGet"`
	Period   int                         `yaml:"periodSeconds"`
	Timeout  int                         `yaml:"timeoutSeconds"`
	Failures int                         `yaml:"failureThreshold"`
}

// within is how long it takes the kubelet at most to notice a failure.
func (p probe) within() time.Duration {
	return time.Duration(p.Period*p.Failures+p.Timeout) * time.Second
}

// loadPod reads the Deployment of the recipe.
func loadPod(t *testing.T) pod {
	t.Helper()
	file, err := os.Open(recipe(t, "kubernetes/rosproxy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var found []pod
	for documents := yaml.NewDecoder(file); ; {
		var document struct {
			Kind string
			Spec struct{ Template struct{ Spec yaml.Node } }
		}
		if err := documents.Decode(&document); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if document.Kind != "Deployment" {
			continue
		}
		var p pod
		if err := document.Spec.Template.Spec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
	if len(found) != 1 || len(found[0].Containers) != 1 {
		t.Fatalf("deployments: got %+v; want one with one container", found)
	}
	return found[0]
}

// TestPodOfTheRecipeEndsAsTheKubeletWants runs the container's arguments, asks
// what its probes ask, and ends it as a node does.
func TestPodOfTheRecipeEndsAsTheKubeletWants(t *testing.T) {
	t.Parallel()
	pod := loadPod(t)
	container := pod.Containers[0]
	grace, timeout := duration(t, container.Args, "--drain-grace"), duration(t, container.Args, "--drain-timeout")
	if end := time.Duration(pod.TerminationGrace) * time.Second; end < timeout+10*time.Second {
		t.Errorf("terminationGracePeriodSeconds: got %v; want more than --drain-timeout, %v, with time to exit", end, timeout)
	}
	if notice := container.Readiness.within(); grace < notice {
		t.Errorf("--drain-grace: got %v; want at least the %v in which the kubelet notices", grace, notice)
	}

	f := newTier(t)
	i := newInstance(t, "a", f.network.hosts["a"])
	args := []string{"/usr/bin/env", "CONSUL_HTTP_ADDR=" + f.consul.address, i.program}
	for _, a := range container.Args {
		args = append(args, strings.ReplaceAll(a, "/etc/rosproxy/token", filepath.Join(filepath.Dir(i.program), "token")))
	}
	i.lives = append(i.lives, i.host.start(t, "a", args...))
	ask := func(p probe) int {
		code, _, _ := i.admin(http.MethodGet, p.Get.Path, nil)
		return code
	}
	for _, p := range []probe{container.Readiness, container.Liveness} {
		if got := portOf(pod, p.Get.Port); got != adminPort {
			t.Errorf("probe of %s: got port %s; want %s", p.Get.Path, got, adminPort)
		}
		eventually(t, "success of the probe of "+p.Get.Path, func() bool { return ask(p) == http.StatusOK })
	}

	if err := syscall.Kill(i.process().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the readiness probe to fail", func() bool { return ask(container.Readiness) == http.StatusServiceUnavailable })
	if code := ask(container.Liveness); code != http.StatusOK {
		t.Errorf("liveness probe of a pod that drains: got %d; want 200", code)
	}
	c, err := f.network.hosts["client"].dial(t.Context(), net.JoinHostPort(i.host.ip, proxyPort))
	if err != nil {
		t.Fatalf("connection that comes in the grace: got %v; want it accepted", err)
	}
	c.Close()
	i.awaitEnd()
}

// duration is the value of one of the arguments.
func duration(t *testing.T, args []string, flag string) time.Duration {
	t.Helper()
	for _, a := range args {
		if text, ok := strings.CutPrefix(a, flag+"="); ok {
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("arguments %q: got none that begins with %s; want one", args, flag)
	return 0
}

// portOf is the number of a port of the container.
func portOf(p pod, name string) string {
	for _, port := range p.Containers[0].Ports {
		if port.Name == name {
			return port.Number
		}
	}
	return name
}
