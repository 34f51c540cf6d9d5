package realconsul

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// crashEnv makes the test binary a parent that starts a child and waits to be killed.
const crashEnv = "REALCONSUL_TEST_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		p, err := startProcess(os.Stderr, "sleep", "600")
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.cmd.Process.Pid)
		<-p.ended
		return
	}
	goleak.VerifyTestMain(m)
}
