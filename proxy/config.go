package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/proxyproto"
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// Config is fixed for the life of a Proxy.
type Config struct {
	Listeners []Listener

	HoldTimeout      time.Duration // how long a new client waits for a master that accepts it; 0: reset at once
	HoldMax          int           // most clients held at a time; 0: 16384. It is bounded by seven eighths of MaxConns
	ReleaseRate      int           // clients that waited for a master are released to it, at most so many a second of one label; 0: all at once
	ConnectTimeout   time.Duration // one attempt to connect to the master; 0: 2s
	DropFIN          bool          // a failover ends client connections by FIN instead of RST
	MaxConns         int           // client connections at a time; 0: what RLIMIT_NOFILE allows, which it is never above where something is Reserved
	Reserved         int           // descriptors of RLIMIT_NOFILE that are for the rest of the process; 0: 256, where they are scarce a quarter
	IdleTimeout      time.Duration // no byte in or out either way, the kernel's send queues included; 0: never
	HalfCloseTimeout time.Duration // one side has closed, and nothing goes in or out any more; 0: never
	KeepAlive        time.Duration // idle time after which both peers are probed; 0: off
	UserTimeout      time.Duration // no acknowledgement for so long: the peer is dead; 0: off
	SocketBuffer     int           // bytes that each buffer of each socket is for, of which the kernel takes twice as many; 0: the kernel tunes them
	Congestion       string        // control of all connections, as CheckCongestion takes it; empty: the system's, but for those within this host none that paces
	Shards           int           // event loops; 0: GOMAXPROCS
	LogConnections   bool          // log closed connections at info instead of debug

	AcceptProxy     bool           // every connection must begin with a PROXY protocol header, version 1 or 2
	AcceptProxyFrom []netip.Prefix // with AcceptProxy: only these peers may connect; none: any
	SendProxy       ProxyVersion   // of the header sent to the master first; 0: none

	// OnDialFailure is called when a dial to a label's master failed, and once
	// a second at most while that goes on. Event loops call it: it must not block.
	OnDialFailure func(label string, err error)
	// OnStandstill is called when an event loop finds that the process, or the
	// machine, stood still, and waits for Confirm. It must not block.
	OnStandstill func()
	// OnPause is called when the pause of a label begins, and when it ends: then
	// its clients wait for Confirm. It must not block.
	OnPause func()
	// OnEvent is called with each line of the log that says what became of a label's
	// master or pause: event is failover, lost, back, pause or resume, message the
	// line's, and fields are the line's, name and value in turn, not to be changed.
	// Of a cut it is called when that is done. SetMaster and Lose wait for it, so
	// it must not block.
	OnEvent func(event, message string, fields []any)
}

// MaxReleaseRate is the highest Config.ReleaseRate.
const MaxReleaseRate = 1_000_000

// Listener is one address that clients connect to, and the label whose master
// they get. Several may have the same label.
type Listener struct {
	Label   string
	Address string // HOST:PORT; an empty or IPv6-any host is dual-stack

	// Settings are the label's own, in the place of those of Config; nil: those
	// of Config. Of several listeners of a label the first counts.
	Settings *Settings

	// Revalidate: after the process stood still, how long nothing goes to the
	// label's master unless Confirm names it. 0: masters need no confirmation,
	// nor do they after a pause;
	// negative: however long it takes. Of several listeners of a label the
	// first counts.
	Revalidate time.Duration

	// KillAfterLease: the process ends by SIGKILL, also while it is stopped, when a
	// lease of the label (Lease) ended half a second ago and a connection to its
	// master is still open. Of several listeners of a label the first counts.
	KillAfterLease bool

	// File is a socket that listens already, to be used instead of opening
	// Address; nil: none. New makes a copy, File stays the caller's.
	File *os.File
	// Shared: another process keeps that socket as well, and with it the
	// clients in its queue. StopAccepting then leaves it as it is.
	Shared bool
}

// Settings are what a label may have of its own: each as the field of that name
// in Config, which has them for all other labels.
type Settings struct {
	HoldTimeout     time.Duration
	ReleaseRate     int
	ConnectTimeout  time.Duration
	IdleTimeout     time.Duration
	DropFIN         bool
	AcceptProxy     bool
	AcceptProxyFrom []netip.Prefix
	SendProxy       ProxyVersion
}

// Settings are those of every label that has none of its own.
func (c *Config) Settings() Settings {
	return Settings{
		HoldTimeout: c.HoldTimeout, ReleaseRate: c.ReleaseRate, ConnectTimeout: c.ConnectTimeout, IdleTimeout: c.IdleTimeout, DropFIN: c.DropFIN,
		AcceptProxy: c.AcceptProxy, AcceptProxyFrom: c.AcceptProxyFrom, SendProxy: c.SendProxy,
	}
}

// ProxyVersion is the version of a PROXY protocol header.
type ProxyVersion = proxyproto.Version

// The versions; the zero value is no header.
const (
	ProxyOff = proxyproto.Off
	ProxyV1  = proxyproto.V1
	ProxyV2  = proxyproto.V2
)

// defaultConnectTimeout is what a ConnectTimeout of 0 means.
const defaultConnectTimeout = 2 * time.Second

// CheckCongestion says why Config.Congestion cannot be name: that this kernel has
// none of that name, or that this user may not choose it.
func CheckCongestion(name string) error { return sock.CheckCongestion(name) }

// CongestionPaces reports whether the congestion control of that name spaces out
// what it sends, for which each socket needs a timer where the interface has no
// queueing discipline that does it.
func CongestionPaces(name string) bool { return sock.Paces(name) }

func (c *Config) validate() error {
	if len(c.Listeners) == 0 {
		return errors.New("no listener configured")
	}
	if c.Congestion != "" {
		if err := CheckCongestion(c.Congestion); err != nil {
			return fmt.Errorf("congestion control %q: %w", c.Congestion, err)
		}
	}
	seen := map[[2]string]bool{}
	for _, l := range c.Listeners {
		if l.File == nil && seen[[2]string{l.Label, l.Address}] {
			return fmt.Errorf("label %q listens on %s twice", l.Label, l.Address)
		}
		seen[[2]string{l.Label, l.Address}] = true
		own := c.Settings()
		if l.Settings != nil {
			own = *l.Settings
		}
		if own.ReleaseRate < 0 || own.ReleaseRate > MaxReleaseRate {
			return fmt.Errorf("label %q: a release rate of %d is not from 0 to %d", l.Label, own.ReleaseRate, MaxReleaseRate)
		}
		if own.SendProxy != ProxyOff && len(l.Label) > proxyproto.LongestLabel {
			return fmt.Errorf("label %q is longer than the %d bytes that a PROXY header carries", l.Label, proxyproto.LongestLabel)
		}
	}
	return nil
}
