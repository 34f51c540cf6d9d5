package tier

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Status is what is wanted of /status.
type Status struct {
	State      string        `json:"state"`
	PID        int           `json:"pid"`
	Generation int           `json:"generation"`
	Labels     []LabelStatus `json:"labels"`
	Consul     []struct {
		Address string `json:"address"`
		OK      bool   `json:"ok"`
		Error   string `json:"error"`
	} `json:"consul"`
}

// LabelStatus is one label of a Status.
type LabelStatus struct {
	Label     string `json:"label"`
	Active    int    `json:"active"`
	Held      int    `json:"held"`
	Failovers int    `json:"failovers_total"`
	Master    *struct {
		Address string `json:"address"`
	} `json:"master"`
}

// MasterOf is the address of a label's master; empty: none.
func (s Status) MasterOf(label string) string {
	n := slices.IndexFunc(s.Labels, func(l LabelStatus) bool { return l.Label == label })
	if n < 0 || s.Labels[n].Master == nil {
		return ""
	}
	return s.Labels[n].Master.Address
}

// Active is how many clients the process has.
func (s Status) Active() int {
	sum := 0
	for _, l := range s.Labels {
		sum += l.Active
	}
	return sum
}

// Status asks the newest process.
func (i *Instance) Status() (Status, error) {
	var s Status
	_, _, err := i.ask(http.MethodGet, "/status", &s)
	return s, err
}

// Statuses asks all processes, the newest first. One that is not serving yet has no answer to give,
// and is an error.
func (i *Instance) Statuses() ([]Status, error) {
	newest, err := i.Status()
	if err != nil {
		return nil, err
	}
	all := []Status{newest}
	for _, pid := range i.PIDs() {
		if pid == newest.PID {
			continue
		}
		var s Status
		if _, _, err := ask(i.older(pid), http.MethodGet, "http://rosproxy/status", &s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Metrics are those of the newest process, by name with labels as they are written.
type Metrics map[string]float64

// Of is a metric of a label.
func (m Metrics) Of(name, label string) int {
	return int(m[fmt.Sprintf("rosproxy_%s{label=%q}", name, label)])
}

// Metrics asks the newest process.
func (i *Instance) Metrics() (Metrics, error) {
	_, text, err := i.ask(http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	m := Metrics{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			name += "}"
		} else if name, value, ok = strings.Cut(lines.Text(), " "); !ok || name == "#" {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			m[name] = v
		}
	}
	return m, nil
}
