package config

import "strings"

const flagOnFailover = "on-failover"

// maxCommand is the longest text that the kernel takes as one argument, its end included.
const maxCommand = 128<<10 - 1

// loadHook reads the command that is run for what becomes of masters.
func loadHook(s settings, c *Config) error {
	v, ok := s.one(flagOnFailover)
	switch {
	case !ok:
		return nil
	case strings.TrimSpace(v.text) == "":
		return v.fault("empty")
	case strings.ContainsRune(v.text, 0):
		return v.fault("has a NUL, which no command can have")
	case len(v.text) > maxCommand:
		return v.fault("longer than %d bytes", maxCommand)
	}
	c.OnFailover = v.text
	return nil
}
