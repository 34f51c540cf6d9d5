package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// newMetricsHandler serves the metrics of a, and those of Go and the process,
// from a registry of its own.
func newMetricsHandler(a *Server) http.HandlerFunc {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(a),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP
}

// collector turns snapshots into metrics, at the moment of the scrape: nothing
// of this is on the path of a byte.
type collector struct {
	a      *Server
	labels []labelMetric

	closed        *prometheus.Desc
	bytes         *prometheus.Desc
	master        *prometheus.Desc
	seen          *prometheus.Desc
	dialErrors    *prometheus.Desc
	dialSeconds   *prometheus.Desc
	fenceSeconds  *prometheus.Desc
	cutSeconds    *prometheus.Desc
	paused        *prometheus.Desc
	leaseSeconds  *prometheus.Desc
	leaseTTL      *prometheus.Desc
	consulUp      *prometheus.Desc
	consulContact *prometheus.Desc
	consulErrors  *prometheus.Desc
	consulResets  *prometheus.Desc
	activeDC      *prometheus.Desc
	dcUp          *prometheus.Desc
	dcTerm        *prometheus.Desc
	standby       *prometheus.Desc
	refused       *prometheus.Desc
	connsMax      *prometheus.Desc
	upgradeFailed *prometheus.Desc
	draining      *prometheus.Desc
	build         *prometheus.Desc
}

// labelMetric is a metric whose one label is the label of a listener.
type labelMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(proxy.LabelSnapshot) float64
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("rosproxy_"+name, help, labels, nil)
}

func newCollector(a *Server) *collector {
	return &collector{
		a:      a,
		labels: newLabelMetrics(),

		closed:        desc("connections_closed_total", "Client connections closed, by reason.", "label", "reason"),
		bytes:         desc("bytes_total", "Bytes moved: up is to the master, down is to the client.", "label", "direction"),
		master:        desc("master_info", "The current master; no series while there is none.", "label", "address", "service_id"),
		seen:          desc("masters_seen", "Instances that claim to be master; with a leader key 1, or 0 without a master.", "label"),
		dialErrors:    desc("dial_errors_total", "Failed attempts to connect to the master, by errno; those that have occurred.", "label", "error"),
		dialSeconds:   desc("dial_seconds", "Time that dials of the master took, of those that succeeded.", "label"),
		fenceSeconds:  desc("failover_fence_seconds", "From a new master's being set until no event loop serves the old one.", "label"),
		cutSeconds:    desc("failover_cut_seconds", "From a new master's being set until the last old connection was closed.", "label"),
		paused:        desc("paused", "1 while a pause holds new clients, and after it until a read has named the master.", "label"),
		leaseSeconds:  desc("fence_lease_seconds", "What is left of the lease of the fence report; 0: there is none, and no client is connected.", "label"),
		leaseTTL:      desc("fence_ttl_seconds", "TTL of the fence report; a lease is four fifths of it at most.", "label"),
		consulUp:      desc("consul_up", "Whether the last request to this Consul address was answered.", "address"),
		consulContact: desc("consul_last_contact_seconds", "Time since the last good answer; no series before the first.", "address"),
		consulErrors:  desc("consul_errors_total", "Answers not obtained or not understood.", "address"),
		consulResets:  desc("consul_index_resets_total", "Times the raft index went backwards.", "address"),
		activeDC:      desc("active_datacenter", "1 for the active one of several data centres, 0 for the others.", "datacenter"),
		dcUp:          desc("datacenter_up", "Whether the entry in this one of several data centres can be read.", "datacenter"),
		standby:       desc("standby", "1 while the master is in another data centre and clients are not connected to it from here.", "label"),
		dcTerm:        desc("datacenter_term", "Term of the newest entry that names the active data centre; 0: there is none."),
		refused:       desc("admin_refused_total", "Admin requests refused: wrong or no token, a Host that is not known, a page of another site.", "reason"),
		connsMax:      desc("connections_max", "Most client connections at a time, of all labels together (--max-conns)."),
		upgradeFailed: desc("upgrades_failed_total", "Upgrades that failed, after which this process went on serving or served again."),
		draining:      desc("draining", "1 when the process is draining, drained or stopping."),
		build:         desc("build_info", "Always 1; the labels tell the build.", "version", "revision", "goversion"),
	}
}

func newLabelMetrics() []labelMetric {
	gauge := func(name, help string, read func(proxy.LabelSnapshot) float64) labelMetric {
		return labelMetric{desc(name, help, "label"), prometheus.GaugeValue, read}
	}
	counter := func(name, help string, read func(proxy.LabelSnapshot) float64) labelMetric {
		return labelMetric{desc(name, help, "label"), prometheus.CounterValue, read}
	}
	return []labelMetric{
		gauge("connections_active", "Client connections, the held ones included.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.Active) }),
		gauge("connections_held", "Client connections waiting for a master.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.Held) }),
		counter("connections_accepted_total", "Client connections accepted.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.Accepted) }),
		counter("spliced_bytes_total", "Bytes moved by splice, of both directions.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.SplicedBytes) }),
		gauge("pipes_in_use", "Pipes that hold bytes of streams at the moment.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.PipesInUse) }),
		counter("pipe_fallbacks_total", "Streams copied because the budget of pipes was spent, or the kernel had none to give.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.PipeFallbacks) }),
		counter("dial_failures_total", "Failed attempts to connect to the master.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.DialFailures) }),
		counter("failovers_total", "Changes of the master, those to none as well.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.Failovers) }),
		counter("master_lost_total", "Times that the master was lost, and nobody elected.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.MastersLost) }),
		counter("failover_dropped_total", "Connections ended by failovers.",
			func(l proxy.LabelSnapshot) float64 { return float64(l.FailoverDropped) }),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.labels {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{
		c.closed, c.bytes, c.master, c.seen, c.dialErrors, c.dialSeconds, c.fenceSeconds, c.cutSeconds,
		c.paused, c.leaseSeconds, c.leaseTTL,
		c.consulUp, c.consulContact, c.consulErrors, c.consulResets, c.activeDC, c.dcUp, c.dcTerm, c.standby, c.refused, c.connsMax, c.upgradeFailed, c.draining, c.build,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	found := c.a.found()
	data := c.a.data.Snapshot()
	for _, l := range data.Labels {
		c.collectLabel(ch, l, found[l.Label])
	}
	c.collectConsul(ch)
	for why := range numRefusals {
		ch <- counterOf(c.refused, c.a.refusals.counts[why].Load(), why.String())
	}
	ch <- gaugeOf(c.connsMax, float64(data.MaxConns))
	ch <- counterOf(c.upgradeFailed, c.a.failedUpgrades())
	ch <- gaugeOf(c.draining, oneIf(c.a.lifecycle.Draining()))
	ch <- gaugeOf(c.build, 1, c.a.build.Version, c.a.build.Revision, c.a.build.Go)
}

func (c *collector) collectLabel(ch chan<- prometheus.Metric, l proxy.LabelSnapshot, found discovery.LabelStatus) {
	for _, m := range c.labels {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(l), l.Label)
	}
	for reason, n := range l.Closed {
		ch <- counterOf(c.closed, n, l.Label, proxy.Reason(reason).String())
	}
	ch <- counterOf(c.bytes, l.BytesUp, l.Label, "up")
	ch <- counterOf(c.bytes, l.BytesDown, l.Label, "down")
	ch <- gaugeOf(c.seen, float64(found.MastersSeen), l.Label)
	ch <- gaugeOf(c.paused, oneIf(isPaused(l)), l.Label)
	if r := found.Report; r != nil && found.State != discovery.Inactive { // nobody is active: there is nothing that a lease would permit
		ch <- gaugeOf(c.leaseSeconds, r.LeaseLeft().Seconds(), l.Label)
		ch <- gaugeOf(c.leaseTTL, r.TTL.Seconds(), l.Label)
	}
	if l.Master.Address.IsValid() {
		// The id is somebody else's text; one bad byte in it must not cost the whole scrape.
		ch <- gaugeOf(c.master, 1, l.Label, l.Master.Address.String(), strings.ToValidUTF8(l.Master.ServiceID, "?"))
	}
	for name, n := range l.DialErrors {
		ch <- counterOf(c.dialErrors, n, l.Label, name)
	}
	ch <- histogramOf(c.dialSeconds, l.Dial, l.Label)
	ch <- histogramOf(c.fenceSeconds, l.Fence, l.Label)
	ch <- histogramOf(c.cutSeconds, l.Cut, l.Label)
}

func (c *collector) collectConsul(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, s := range c.a.source.Agents() {
		ch <- gaugeOf(c.consulUp, oneIf(s.OK), s.Address)
		if !s.LastContact.IsZero() {
			ch <- gaugeOf(c.consulContact, now.Sub(s.LastContact).Seconds(), s.Address)
		}
		ch <- counterOf(c.consulErrors, s.Errors, s.Address)
		ch <- counterOf(c.consulResets, s.IndexResets, s.Address)
	}
	c.collectDatacenters(ch)
}

func (c *collector) collectDatacenters(ch chan<- prometheus.Metric) {
	d := c.a.source.Datacenters()
	if d == nil {
		return
	}
	for _, dc := range d.All {
		ch <- gaugeOf(c.activeDC, oneIf(dc.Name == d.Active), dc.Name)
		ch <- gaugeOf(c.dcUp, oneIf(dc.Up), dc.Name)
	}
	ch <- gaugeOf(c.dcTerm, float64(d.Term))
	for _, l := range c.a.source.Labels() {
		ch <- gaugeOf(c.standby, oneIf(l.State == discovery.Standby), l.Label)
	}
}

func oneIf(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func gaugeOf(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counterOf(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func histogramOf(d *prometheus.Desc, h proxy.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Bounds)) // cumulative
	count := uint64(0)
	for i, n := range h.Counts {
		count += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = count
		}
	}
	return prometheus.MustNewConstHistogram(d, count, h.Sum, buckets, labels...)
}
