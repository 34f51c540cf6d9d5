package admin

import (
	"context"
	"net"
	"net/http"
)

// peer is a connection as the listener of the program gives it.
type peer interface {
	SetBusy(bool) // somebody works for it: it is not the first to be closed for another
	Peer() string
}

type peerKey struct{}

// withPeer is http.Server's ConnContext: it lets the handlers find the connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(peer); ok {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

func setBusy(r *http.Request, busy bool) {
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		p.SetBusy(busy)
	}
}

func setConnBusy(c net.Conn, busy bool) {
	if p, ok := c.(peer); ok {
		p.SetBusy(busy)
	}
}

// peerOf says who asks, for the log.
func peerOf(r *http.Request) string {
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		return p.Peer()
	}
	return r.RemoteAddr
}
