package proxy

import "time"

// SetHeaderTimeout is for tests that are about something else than a header
// that is late, on machines that are. It must be called before Serve.
func (p *Proxy) SetHeaderTimeout(d time.Duration) { p.headerTimeout = d }
