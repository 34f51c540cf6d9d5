// Package prometheus has no code of its own, only tests: the alerts and the
// dashboard of testdata/prometheus with the real Prometheus, which scrapes
// instances of rosproxy that have what the alerts tell of.
package prometheus
