package config

import (
	"fmt"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
)

// NewSource makes the source of masters that c names. Its error is a fault of
// the configuration: a Consul that is away is none.
func (c Config) NewSource(log zerolog.Logger) (discovery.Source, error) {
	var static *discovery.Static
	var fixed []discovery.Label
	for _, l := range c.Discovery.Labels {
		if c.Static[l.Name] != "" {
			fixed = append(fixed, l)
		}
	}
	if len(fixed) > 0 {
		var err error
		if static, err = discovery.NewStatic(c.Static, fixed, log); err != nil {
			return nil, fmt.Errorf("--static-master: %w", err)
		}
	}
	asking := c.Asking()
	if len(asking.Labels) == 0 {
		return static, nil
	}
	consul, err := discovery.NewConsul(asking, log)
	if err != nil {
		return nil, fmt.Errorf("--consul-addr or CONSUL_*: %w", err)
	}
	if static == nil {
		return consul, nil
	}
	return discovery.Mix(static, consul, c.Discovery.Labels), nil
}
