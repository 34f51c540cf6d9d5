package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
