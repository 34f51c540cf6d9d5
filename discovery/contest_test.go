package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// contest is a cluster of three that elects leaders, and a label that follows it,
// as FuzzLeader moves them. The third is known by a host name.
type contest struct {
	t  *testing.T
	in []byte

	// what is so
	index   uint64
	key     view
	members [3]view
	ready   [3]bool
	passing [3]bool
	address netip.Addr // of the third

	// what the label was shown, and what it may conclude
	shown  view
	holder int    // who holds the key by that; nobody: -1
	held   *entry // by which
	term   int    // counts the elections that were shown
	proved bool   // the holder was said to be ready, after its election
	said   []said // by REST APIs, and under way

	// what the sink was told
	live   int // whose master the live connections go to; none: -1
	lost   time.Time
	fenced bool

	pursuit
}

// said is the answer of a REST API that is under way.
type said struct {
	of, term, shownTerm int
	ready               bool
}

func (c *contest) next() int {
	if len(c.in) == 0 {
		return 0
	}
	b := c.in[0]
	c.in = c.in[1:]
	return int(b)
}

// name is what the key holds of a member; place is what its member says, in one of
// two ways.
func (c *contest) name(i int) string {
	if c.leader.key.Format == PatroniFormat {
		return fmt.Sprintf("pg%d", i+1)
	}
	return c.place(i, 0)
}

func (c *contest) place(i, way int) string {
	if i == 2 {
		return fmt.Sprintf("pg3.example:%d", 5432+way)
	}
	return fmt.Sprintf("10.0.0.%d:%d", i+1, 5432+way)
}

// whose is the member at an address.
func whose(a netip.AddrPort) int { return min(int(a.Addr().As4()[3]), 3) - 1 }

// change is something that happens in the cluster.
func (c *contest) change() {
	who, what := c.next()%3, c.next()
	c.index++
	switch what % 8 {
	case 0, 1:
		c.key = holding(c.name(who), fmt.Sprintf("s%d", what/8%4))
	case 2:
		c.key = missing
		return
	case 3:
		c.key = holding(c.name(who), "")
	case 4:
		c.key = holding("/nonsense", fmt.Sprintf("s%d", what/8%4))
	case 5:
		c.members[who] = memberAt(c.place(who, what/8%2))
		c.members[who].entry.value = strings.Replace(c.members[who].entry.value, "8008", fmt.Sprint(8001+who), 1)
		if what >= 224 {
			c.members[who] = missing
		}
	case 6:
		c.ready[who] = what/8%2 == 0
		c.passing[who] = what/16%2 == 0
	case 7:
		c.address = netip.AddrFrom4([4]byte{10, 0, 0, byte(3 + what/8%2)})
	}
	if e := c.key.entry; e != nil && what%8 < 5 {
		e.modify = c.index
	}
}

// instances are those of the service that pass.
func (c *contest) instances() view {
	var cs []candidate
	for i, p := range c.passing {
		if !p {
			continue
		}
		place, err := parseHostPort(c.place(i, c.wayOf(i)))
		if err != nil {
			c.t.Fatal(err)
		}
		cs = append(cs, place)
	}
	if len(cs) == 0 {
		return view{kind: none, claims: nobody}
	}
	return view{kind: found, claims: &claims{candidates: cs}}
}

// wayOf is which of its two places a member has.
func (c *contest) wayOf(i int) int {
	if e := c.members[i].entry; c.leader.key.Format == PatroniFormat && e != nil && strings.Contains(e.value, ":5433/") {
		return 1
	}
	return 0
}

// show lets the label see the key as it is now, and notes what follows.
func (c *contest) show(v view) {
	c.shown, c.fenced = v, false
	next := -1
	if e := v.entry; v.kind == found && (e.session != "" || c.leader.key.LockIgnored) {
		if e.value == "/nonsense" {
			if c.leader.key.LockIgnored || c.held != nil && c.held.session == e.session {
				return // unknown
			}
		} else {
			next = slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { return c.name(i) == e.value })
		}
	}
	if next < 0 {
		c.holder, c.held, c.proved = next, nil, false
		return
	}
	if next != c.holder || c.mastership.state != Found && !v.entry.equal(c.held) {
		c.term++
		c.proved = false
	}
	c.holder, c.held = next, v.entry
}

// look has the label look at what it was shown, twice, and checks what follows.
func (c *contest) look() {
	if c.fenced {
		return // until it is shown the key again
	}
	if c.leader.key.Ready == ReadyCatalog && c.holder >= 0 && c.shown.kind == found && c.catalog.kind == found {
		c.proved = c.proved || slices.ContainsFunc(c.catalog.claims.candidates, func(k candidate) bool {
			return k.host != "" && c.holder == 2 || k.host == "" && whose(k.addr) == c.holder
		})
	}
	before, live := c.mastership.state, c.live
	c.obey(c.leader.look(c.shown, c.evidence, c.now))
	if c.shown.kind == unknown && c.mastership.state != before {
		c.t.Fatalf("went from %q to %q by an unknown answer", before, c.mastership.state)
	}
	if c.live >= 0 && c.holder >= 0 && c.live != c.holder {
		c.t.Fatalf("live connections go to %d while %d holds the key", c.live, c.holder)
	}
	if c.holder < 0 && c.held == nil && c.shown.kind != unknown && c.mastership.state == Found {
		c.t.Fatal("somebody is master while nobody holds the key")
	}
	if live >= 0 && c.live < 0 && live == c.holder {
		c.t.Fatalf("cut from %d, who holds the key", live)
	}
	state := c.mastership.state
	if o := c.leader.look(c.shown, c.evidence, c.now); o.do != nothing || c.mastership.state != state {
		c.t.Fatalf("the same again: got order %+v, and %q after %q; want nothing", o, c.mastership.state, state)
	}
	c.subscribe()
}

// subscribe asks for what the label must know, as labelWatch does.
func (c *contest) subscribe() {
	if k := c.leader.memberKey(); k != c.memberKey {
		c.memberKey, c.member = k, view{}
	}
	if !c.leader.asksCatalog() {
		c.catalog = view{}
	}
	if url, term := c.leader.asksAPI(); url != "" {
		of := int(url[len(url)-1]-'0') - 1
		if of != c.holder {
			c.t.Fatalf("asked the API of %d whether %d is ready", of, c.holder)
		}
		c.said = append(c.said, said{of: of, term: term, shownTerm: c.term, ready: c.ready[of]})
	}
}

// obey is the sink.
func (c *contest) obey(o order) {
	switch o.do {
	case setMaster:
		who := whose(o.master.Address)
		if who != c.holder {
			c.t.Fatalf("made %v master; %d holds the key", o.master.Address, c.holder)
		}
		if !c.proved && c.leader.key.Ready != ReadyNow {
			c.t.Fatalf("made %v master before it was ready", o.master.Address)
		}
		c.live, c.lost = who, time.Time{}
	case cutMaster:
		c.live = -1
	case clearMaster:
		c.lost = c.now
		if c.live >= 0 && c.mastership.lost == CutLive && c.mastership.lostAfter == 0 {
			c.t.Fatal("kept live connections; want them cut at once")
		}
	}
	if o.do != nothing && (o.do == setMaster) != (c.mastership.state == Found) {
		c.t.Fatalf("got order %+v in state %q", o, c.mastership.state)
	}
}

// resolve looks up the host name of the third.
func (c *contest) resolve() {
	c.hosts = map[string]netip.Addr{"pg3.example": c.address}
	if !c.fenced {
		c.obey(c.mastership.resolved(c.address, c.now))
	}
}

// answer is what one REST API says that was asked.
func (c *contest) answer() {
	if len(c.said) == 0 {
		return
	}
	i := c.next() % len(c.said)
	s := c.said[i]
	c.said = slices.Delete(c.said, i, i+1)
	why := "not ready"
	if s.ready {
		why = ""
		c.proved = c.proved || s.shownTerm == c.term && c.holder >= 0
	}
	c.leader.takeProbe(s.term, why)
}

func (c *contest) expire(by time.Duration) {
	c.now = c.now.Add(by)
	due := c.mastership.lost == CutLive && !c.lost.IsZero() && c.now.Sub(c.lost) >= c.mastership.lostAfter
	live := c.live
	c.obey(c.mastership.expire(c.now))
	if live >= 0 && c.live < 0 && !due {
		c.t.Fatal("cut before the master had been lost for long enough")
	}
	if due && c.live >= 0 && c.mastership.state != Found {
		c.t.Fatal("kept live connections for longer than a master may be lost")
	}
}
