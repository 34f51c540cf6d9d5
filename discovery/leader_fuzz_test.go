package discovery

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// step lets one thing happen.
func (c *contest) step() {
	c.now = c.now.Add(time.Millisecond)
	switch c.next() % 10 {
	case 0, 1, 2:
		c.change()
		return
	case 3, 4:
		c.show(c.key)
	case 5:
		c.memberShown()
	case 6:
		if c.catalog = (view{}); c.leader.asksCatalog() {
			c.catalog = c.instances()
		}
	case 7:
		c.answer()
	case 8:
		c.resolve()
	case 9:
		switch c.next() % 4 {
		case 0:
			if c.mastership.state != Starting {
				c.obey(c.mastership.fence())
				c.live, c.fenced = -1, true
			}
		default:
			c.expire(time.Duration(c.next()) * 100 * time.Millisecond)
		}
	}
	c.look()
}

func (c *contest) memberShown() {
	if i := strings.LastIndex(c.memberKey, "pg"); i >= 0 {
		c.member = c.members[c.memberKey[i+2]-'1']
	}
}

// settle shows everything as it is, in any order, until nothing is under way.
func (c *contest) settle() {
	for range 4 {
		order := []func(){
			func() { c.show(c.key) }, c.memberShown, c.resolve,
			func() { c.catalog = c.instances() },
			func() {
				for len(c.said) > 0 {
					c.answer()
				}
			},
		}
		for len(order) > 0 {
			i := c.next() % len(order)
			order[i]()
			order = slices.Delete(order, i, i+1)
			c.look()
		}
	}
	c.said = nil
	if c.leader.key.Ready == ReadyAPI && c.holder >= 0 && c.ready[c.holder] {
		c.subscribe()
		for len(c.said) > 0 {
			c.answer()
		}
		c.look()
		c.resolve()
	}
}

func (c *contest) checkEnd() {
	k, e := c.leader.key, c.key.entry
	var want netip.AddrPort
	switch i := c.holder; {
	case e != nil && e.value == "/nonsense", i < 0: // nobody, or as good as unknown
		if i >= 0 && c.mastership.state == Found {
			return
		}
	case k.Format == PatroniFormat && c.members[i].kind != found && c.mastership.state == Found: // where it is was read earlier
		return
	case k.Format == PatroniFormat && c.members[i].kind != found && !c.leader.member.hasAddress():
	case k.Ready == ReadyAPI && !c.ready[i] && !c.leader.ready, k.Ready == ReadyCatalog && !c.passing[i] && !c.leader.ready:
	case k.Format == PatroniFormat && c.members[i].kind != found:
		return
	default:
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		if i == 2 {
			address = c.address
		}
		want = netip.AddrPortFrom(address, uint16(5432+c.wayOf(i)))
	}
	if got := c.mastership.state; (got == Found) != want.IsValid() {
		c.t.Fatalf("ended in state %q (%s); want the master %v. The key is %+v, its holder %d", got, c.mastership.why, want, c.key.entry, c.holder)
	}
	if want.IsValid() && c.mastership.master.Address != want {
		c.t.Fatalf("ended with the master %v; want %v", c.mastership.master.Address, want)
	}
}

// FuzzLeader lets a cluster elect leaders, move and fail, and checks that nobody but
// the holder of the key that was shown is ever master, and not before it was said to
// be ready; that connections to anybody else end at once, and none to the holder; that
// what is unknown changes nothing; and that truth, told in any order, wins in the end.
func FuzzLeader(f *testing.F) {
	addRandom(f, 300, 400)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2048 {
			return
		}
		c := &contest{t: t, in: in, holder: -1, live: -1, key: missing, address: netip.MustParseAddr("10.0.0.3")}
		for i := range c.members {
			c.members[i] = missing
		}
		kind := c.next()
		key := LeaderKey{Format: LeaderFormat(kind % 2), Ready: LeaderReady(kind / 2 % 3), LockIgnored: kind/6%2 == 1}
		if key.Format != PatroniFormat && key.Ready == ReadyAPI {
			key.Ready = ReadyNow
		}
		policy := func(p *Config) {
			p.OnLost, p.LostAfter = LostPolicy(kind/12%2), time.Duration(kind/24%2)*5*time.Second
		}
		c.pursuit = *newPursuit(t, key, policy)
		c.leader.mastership = &c.mastership
		for len(c.in) > 0 {
			c.step()
		}
		c.settle()
		c.checkEnd()
	})
}

// addRandom adds n inputs that are the same at each run.
func addRandom(f *testing.F, n, size int) {
	for seed := range n {
		in := make([]byte, size)
		r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
		_, _ = r.Read(in) // never fails
		in[0] = byte(seed)
		f.Add(in)
	}
}
