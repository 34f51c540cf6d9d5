package config

import (
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
)

// loadConsul reads what is asked of Consul, and where.
func loadConsul(s settings, c *Config) (err error) {
	d := &c.Discovery
	if d.Service, err = parseService(s); err != nil {
		return err
	}
	if d.Tags, err = parseTags(s); err != nil {
		return err
	}
	if d.Addresses, err = parseConsulAddresses(s); err != nil {
		return err
	}
	if err := loadDatacenters(s, d); err != nil {
		return err
	}
	if d.VerifyEvery, err = parseDuration(s, "verify-every", 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	p, err := loadPolicy(s, false)
	d.OnOutage, d.FenceAfter, d.OnConflict, d.OnLost, d.LostAfter = p.OnOutage, p.FenceAfter, p.OnConflict, p.OnLost, p.LostAfter
	return err
}

func parseConsulAddresses(s settings) (addresses []string, err error) {
	for _, v := range s.list("consul-addr") {
		v.secret = strings.Contains(v.text, "@") // a password may be in it
		if v.text == "" || !isPlain(v.text) {
			return nil, v.fault("not an address of Consul")
		}
		if err := discovery.CheckAddress(v.text); err != nil {
			return nil, v.fault("%v", err)
		}
		addresses = append(addresses, v.text)
	}
	return addresses, nil
}

func parseService(s settings) (string, error) {
	v, _ := s.one("service")
	if v.text == "" || !isPlain(v.text) || strings.ContainsAny(v.text, "/?#%") {
		return "", v.fault("not the name of a service")
	}
	return v.text, nil
}

func parseTags(s settings) (tags []string, err error) {
	for _, v := range s.list("tag") {
		if v.text == "" || !isPlain(v.text) {
			return nil, v.fault("not a tag")
		}
		tags = append(tags, v.text)
	}
	return tags, nil
}
