package consultest

import (
	"os"
	"strings"
)

// UnsetEnvironment takes out of the environment of this process what says how
// Consul is to be reached: tests say that themselves.
func UnsetEnvironment() {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "CONSUL_") {
			os.Unsetenv(name)
		}
	}
}
