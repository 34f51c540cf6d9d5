package consultest

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
)

func (b *backend) healthService(c *call) (*Answer, error) {
	if c.rest == "" {
		return nil, refuse(http.StatusBadRequest, "Missing service name")
	}
	passing, err := c.flag("passing")
	if err != nil {
		return nil, err
	}
	a, err := b.query(c, func(st *state) reading {
		found := []healthEntry{}
		if c.rights == AllRights {
			found = st.health(c.rest, c.args["tag"])
		}
		if passing {
			found = slices.DeleteFunc(found, func(e healthEntry) bool { return !e.passing() })
			// Consul keeps no order here; who relies on one must be seen to fail.
			rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		}
		return reading{value: found, index: st.serviceIndex(c.rest), version: st.touched[c.rest]}
	})
	if err != nil {
		return nil, err
	}
	a.Header.Set("X-Consul-Effective-Consistency", c.consistency())
	if b.streaming && c.has("index") && c.args.Get("index") != "0" && !c.has("near") {
		a.Header.Set("X-Consul-Query-Backend", "streaming")
		a.Header.Set("X-Consul-Knownleader", "false")
		a.Header.Del("X-Consul-Results-Filtered-By-Acls")
	}
	return a, nil
}

func (b *backend) healthChecks(c *call) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := []checkRow{}
		for key, s := range st.services {
			if s.Service != c.rest || c.rights != AllRights {
				continue
			}
			for _, ck := range st.checksOf(key) {
				if ck.ServiceID != "" {
					found = append(found, ck)
				}
			}
		}
		sortChecks(found)
		return reading{value: found, index: st.serviceIndex(c.rest), version: st.touched[c.rest]}
	})
}

func (b *backend) healthNode(c *call) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := []checkRow{}
		for key, ck := range st.checks {
			if key.node == c.rest && c.rights == AllRights {
				found = append(found, ck)
			}
		}
		sortChecks(found)
		return reading{value: found, index: st.catalog, version: st.catalog}
	})
}

// flag is an argument that is true when it stands alone.
func (c *call) flag(name string) (bool, error) {
	if !c.has(name) {
		return false, nil
	}
	v := c.args.Get(name)
	if v == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, refuse(http.StatusBadRequest, "Invalid value for ?%s", name)
	}
	return on, nil
}
