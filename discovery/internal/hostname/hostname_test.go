package hostname

import (
	"strings"
	"testing"
)

func TestNamesThatAResolverMayBeAskedFor(t *testing.T) {
	longest := strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 61)+".", 4), ".") + ".abcde" // 253 bytes
	for _, name := range []string{"localhost", "db-1.example.com", "db.example.com.", "_consul._tcp.x", "1.a", "A9", longest} {
		if !IsValid(name) {
			t.Errorf("%q: got invalid; want valid", name)
		}
	}
	for _, name := range []string{
		"", ".", "a..b", ".a", "a b", "a/b", "a:1", "[::1]", "héros", "10.0.0", "10.0.0.256", "a.1", strings.Repeat("a", 64), longest + "f", "a\x00",
	} {
		if IsValid(name) {
			t.Errorf("%q: got valid; want invalid", name)
		}
	}
}
