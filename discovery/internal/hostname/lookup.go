package hostname

import (
	"context"
	"net"
	"net/netip"
)

// LookupFunc asks for the IP addresses of a host name.
type LookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// SystemLookup is a LookupFunc that asks as the system is configured to.
func SystemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
