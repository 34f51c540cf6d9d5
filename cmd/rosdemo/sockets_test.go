package main

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestOpenSocketsCountsThoseOfTheProcessToTheAddress(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		count := func() int {
			n, err := openSockets(os.Getpid(), ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if got := count(); got != 0 {
			t.Errorf("%s: before the first got %d; want 0", host, got)
		}
		var conns []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		if got := count(); got != 3 {
			t.Errorf("%s: with 3 connections got %d; want 3", host, got)
		}
		conns[0].Close()
		if got := count(); got != 2 {
			t.Errorf("%s: with 2 connections left got %d; want 2", host, got)
		}
	}
}

func TestParseSocket(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80", // a dual-stack socket's
	} {
		got, ok := parseSocket(in)
		if !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s got %v, %v; want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "0100007F", "0100007:1F90", "0100007F:X", "01:1"} {
		if got, ok := parseSocket(in); ok {
			t.Errorf("%q got %v; want it refused", in, got)
		}
	}
}
