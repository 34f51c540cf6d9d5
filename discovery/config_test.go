package discovery

import (
	"strings"
	"testing"
)

func TestConfigThatCannotBe(t *testing.T) {
	for _, tc := range []struct {
		change func(*Config)
		err    string
	}{
		{func(c *Config) { c.Service = "" }, "service"},
		{func(c *Config) { c.Labels = nil }, "label"},
		{func(c *Config) { c.Labels = []Label{{Name: "a"}, {Name: "a", Tagged: true}} }, `"a" is named twice`},
		{func(c *Config) { c.FenceAfter = -1 }, "below zero"},
	} {
		c := quick()
		tc.change(&c)
		if _, err := NewConsul(c, nopLog); err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("got error %v; want one with %q", err, tc.err)
		}
	}
}
