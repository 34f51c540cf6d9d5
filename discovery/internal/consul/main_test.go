package consul

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func TestMain(m *testing.M) {
	consultest.UnsetEnvironment()
	goleak.VerifyTestMain(m)
}
