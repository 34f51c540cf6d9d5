package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// MaxLeaderKey bounds a leader key, in bytes. Consul takes longer ones.
const MaxLeaderKey = 512

// CheckLeaderKey says what is wrong with a leader key: nil when nothing is. Keys
// that Consul's API does not serve (it answers 400, or redirects to another key)
// are wrong, and so is one that has no place beside it for Patroni's members.
func CheckLeaderKey(key string, format LeaderFormat) error {
	segments := strings.Split(key, "/")
	switch {
	case key == "":
		return errors.New("the key is empty")
	case len(key) > MaxLeaderKey:
		return fmt.Errorf("the key is longer than %d bytes", MaxLeaderKey)
	case !prints(key):
		return errors.New("the key has a character that does not print, which Consul refuses")
	case segments[0] == "":
		return errors.New("the key begins with a slash; Consul's keys do not")
	case segments[len(segments)-1] == "":
		return errors.New("the key ends with a slash: a folder, which nobody can hold")
	case slices.Contains(segments, "") || slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		return errors.New("the key has a part that is empty, . or .., for which Consul answers with another key")
	case format == PatroniFormat && len(segments) == 1:
		return errors.New("the key has no slash: the members of Patroni stand beside it, as beside service/SCOPE/leader")
	}
	return nil
}

// validate says what is wrong with k, which may be nil.
func (k *LeaderKey) validate() error {
	switch {
	case k == nil:
		return nil
	case k.Ready == ReadyAPI && k.Format != PatroniFormat:
		return errors.New("only a leader of Patroni has a REST API to be asked")
	}
	return CheckLeaderKey(k.Key, k.Format)
}

// parseHostPort reads HOST:PORT.
func parseHostPort(value string) (candidate, error) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return candidate{}, fmt.Errorf("its value %s is not HOST:PORT", text.Quoted(value))
	}
	return candidateAt(host, port)
}

// candidateAt is where somebody can be reached, of whom nothing else is known.
func candidateAt(host, port string) (candidate, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return candidate{}, fmt.Errorf("port %s is unusable", text.Quoted(port))
	}
	addr, isIP, err := parseHost(host)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{port: uint16(n)}
	if isIP {
		c.addr = netip.AddrPortFrom(addr, c.port)
	} else {
		c.host = host
	}
	return c, nil
}
