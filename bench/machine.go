package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

// machine tells what the run is made on, and with.
func machine(ctx context.Context, s settings) ([]results.Fact, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("ask for the kernel's name: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("ask for the memory's size: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("ask for the limit of descriptors: %w", err)
	}
	virtual := ""
	if hasCPUFlag("hypervisor") {
		virtual = ", virtual"
	}
	return []results.Fact{
		{Name: "Machine", Value: fmt.Sprintf("%s, %d CPUs%s, %d GiB", cpuModel(), runtime.NumCPU(), virtual, (uint64(info.Totalram)*uint64(info.Unit)+1<<29)>>30)},
		{Name: "Kernel", Value: fmt.Sprintf("%s %s, %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))},
		{Name: "System", Value: fieldOf("/etc/os-release", "PRETTY_NAME=")},
		{Name: "TCP", Value: "congestion control " + firstWord("/proc/sys/net/ipv4/tcp_congestion_control")},
		{Name: "Descriptors", Value: fmt.Sprintf("%d a process", files.Cur)},
		{Name: "Load before", Value: firstWord("/proc/loadavg") + " (1 minute)"},
		{Name: "rosproxy", Value: firstLine(ctx, s.binaries[peers.Rosproxy], "version")},
		{Name: "HAProxy", Value: firstLine(ctx, "haproxy", "-v")},
		{Name: "nginx", Value: firstLine(ctx, "nginx", "-v")},
		{Name: "Consul", Value: firstLine(ctx, consulBinary(s.root), "version")},
		{Name: "Go", Value: runtime.Version()},
	}, nil
}

// firstLine is what a program says of its version.
func firstLine(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return "none"
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

func cpuModel() string {
	if m := fieldOf("/proc/cpuinfo", "model name\t:"); m != "" {
		return m
	}
	return runtime.GOARCH
}

func hasCPUFlag(flag string) bool {
	return strings.Contains(fieldOf("/proc/cpuinfo", "flags\t\t:")+" ", " "+flag+" ")
}

// fieldOf is the rest of the first line of a file that begins with prefix; empty: there is none.
func fieldOf(path, prefix string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			return strings.Trim(strings.TrimSpace(rest), `"`)
		}
	}
	return ""
}

// firstWord is the first word of a file.
func firstWord(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	words := strings.Fields(string(b))
	if len(words) == 0 {
		return "unknown"
	}
	return words[0]
}
