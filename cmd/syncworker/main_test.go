package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asWorker makes the test binary run as a worker, so that tests can kill and
// freeze real ones.
const asWorker = "SYNCWORKER_TEST_AS_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		os.Exit(command(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

func TestBadUsageNamesFlagAndValue(t *testing.T) {
	for name, args := range map[string][]string{
		"no id":           {"--label=default"},
		"id with a space": {"--id=a b"},
		"label with /":    {"--id=1", "--label=a/b"},
		"short ttl":       {"--id=1", "--check-ttl=1ms"},
		"negative alone":  {"--id=1", "--alone-after=-1s"},
		"unknown flag":    {"--id=1", "--nonesuch"},
	} {
		if got := command(args); got != 2 {
			t.Errorf("%s: exit status got %d; want 2", name, got)
		}
	}
}
