package proxyproto

import (
	"fmt"
	"testing"

	pires "github.com/pires/go-proxyproto"
)

// BenchmarkHeader is what a PROXY protocol header costs a new connection, but
// for its system calls.
func BenchmarkHeader(b *testing.B) {
	for _, name := range []string{"haproxy-v1-tcp4", "haproxy-v2-tcp4", "haproxy-v2-tcp4-ssl"} {
		header := fixtures(b)[name]
		b.Run("read/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := read(header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	_, o, err := read(fixtures(b)["haproxy-v2-tcp4"])
	if err != nil {
		b.Fatal(err)
	}
	for _, version := range []Version{V1, V2} {
		b.Run(fmt.Sprintf("write/v%d", version), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(version, *o, pires.TLV{Type: TLVLabel, Value: []byte("default")}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
