package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// leader follows a leader key: who holds it, where that is, and whether it is
// ready to be master. It does no I/O and reads no clock. One goroutine owns it.
//
//	what the key and the member say                what follows
//	absent                                         lost: on-lost, as a rule a cut at once
//	held by no session (lock required)             lost, the same
//	denied (403), unreadable, not answered         unknown: nothing changes
//	another holder than before, not ready          cut at once, whatever on-lost says; then wait
//	the same holder after a loss, not ready        wait; live connections as on-lost said
//	holder not among the members, or its           wait
//	  address cannot be understood
//	holder ready                                   it is master
//	holder changed while it was not ready          the same for the new holder, from the start
//	the same holder with a new session             nothing: nobody saw the lock lost
//	the same, while it is not master               the same holder's readiness, from the start
//	a value that names nobody, same session        unknown: nothing changes
//	the same, with the lock ignored                unknown: nothing changes
//	a value that names nobody, another session     cut at once: the lock has changed hands
//	the present master is not ready any more       nothing: readiness is asked for once an election
//	the present master's address changes           a failover to the new address
//
// A key that a restored snapshot brought back has a lower index: indexFilter
// rules on that before anything gets here.
type leader struct {
	key        LeaderKey
	mastership *mastership

	entry  *entry // the last that counted; nil: the key is absent, or was not read yet
	holder string // who holds the key by it; empty: nobody
	held   *entry // the last that named the holder; nil: nobody holds the key
	term   int    // counts the elections, so that an answer about an earlier one is told apart
	master string // the holder that was master last: live connections are to it

	member memberInfo // of the holder; zero: not known
	ready  bool       // the holder has been found ready
	waits  string     // for what the holder is not master yet
	reject *reject    // why the value cannot be followed; nil: it can
}

// evidence is what is known beside the key of who may hold it. A view that is
// unknown was not asked for, or has not come yet.
type evidence struct {
	memberKey string // whose member it is
	member    view
	catalog   view                  // the instances of the service, with ReadyCatalog
	hosts     map[string]netip.Addr // what host names stand for
}

// look takes the present view of the key, and what is known beside it. Evidence
// about an earlier holder says nothing of this one.
func (l *leader) look(key view, e evidence, now time.Time) order {
	if key.kind == unknown {
		return order{}
	}
	if o, ok := l.follow(key, now); !ok {
		return o
	}
	if l.key.Format == PatroniFormat {
		if e.memberKey != l.memberKey() {
			e.member = view{}
		}
		l.takeMember(e.member)
	}
	l.takeCatalog(e.catalog, e.hosts[l.member.candidate.host])
	if l.isReady() {
		return l.install(key)
	}
	if l.master != "" && l.holder != l.master {
		return l.mastership.oust(None, l.waitsFor())
	}
	return l.mastership.lose(l.waitsFor(), now)
}

// isReady reports whether the holder waits for nothing of its own.
func (l *leader) isReady() bool { return l.ready && l.member.hasAddress() }

// install makes the holder master. While its host name is looked up, an earlier
// one is no master any more, and has no live connections: it has lost the lock.
func (l *leader) install(key view) order {
	another := l.holder != l.master
	l.master = l.holder
	o := l.mastership.elect(l.member.candidate, key.arrived, key.begun)
	if another && l.mastership.isNameless() {
		return l.mastership.oustForSuccessor()
	}
	return o
}

// waitsFor says why the holder is not master yet.
func (l *leader) waitsFor() string {
	return fmt.Sprintf("leader %s: %s", text.Quoted(l.holder), l.waits)
}

// follow notes who holds the key. It reports whether somebody does who can be
// followed; if not, what is to be done.
func (l *leader) follow(key view, now time.Time) (order, bool) {
	l.entry, l.reject = key.entry, nil
	if key.kind == none {
		return l.lose(fmt.Sprintf("the leader key %s is absent", text.Quoted(l.key.Key)), now), false
	}
	e := key.entry
	if e.session == "" && !l.key.LockIgnored {
		return l.lose(fmt.Sprintf("no session holds the leader key %s", text.Quoted(l.key.Key)), now), false
	}
	holder, err := l.read(e)
	if err != nil {
		l.reject = &reject{who: "leader key " + text.Quoted(l.key.Key), why: err.Error()}
		if l.key.LockIgnored || l.held != nil && e.session == l.held.session {
			if l.mastership.state != Found {
				l.mastership.why = l.reject.String()
			}
			return order{}, false // as good as unknown
		}
		l.begin("")
		return l.mastership.oust(None, l.reject.String()), false
	}
	if name := strings.TrimSpace(e.value); name != l.holder || l.mastership.state != Found && !e.equal(l.held) {
		l.begin(name)
	}
	l.held = e
	if l.key.Format == AddressFormat {
		l.member = memberInfo{candidate: holder}
	}
	return order{}, true
}

// read understands the value of e.
func (l *leader) read(e *entry) (candidate, error) {
	if e.length > maxValue {
		return candidate{}, fmt.Errorf("its value is longer than %d KiB", maxValue>>10)
	}
	value := strings.TrimSpace(e.value)
	if value == "" {
		return candidate{}, errors.New("its value is empty")
	}
	if l.key.Format == PatroniFormat {
		return candidate{}, checkMemberName(value)
	}
	return parseHostPort(value)
}

// lose notes that nobody holds the key.
func (l *leader) lose(why string, now time.Time) order {
	l.begin("")
	return l.mastership.lose(why, now)
}

// begin starts the term of holder, of whom nothing is known yet; empty: of nobody.
func (l *leader) begin(holder string) {
	l.term++
	l.holder, l.held, l.member, l.waits = holder, nil, memberInfo{}, ""
	l.ready = l.key.Ready == ReadyNow
}

// What the holder waits for before there is an answer, as a rule for milliseconds.
const (
	notReadYet  = "its member has not been read yet"
	notAskedYet = "its REST API has not been asked yet"
)

// isBeingAsked reports whether it is not known yet what the holder waits for.
func (l *leader) isBeingAsked() bool { return l.waits == notReadYet || l.waits == notAskedYet }

// takeMember notes where the holder is. Once that is known, a member that is
// gone or cannot be understood changes nothing.
func (l *leader) takeMember(v view) {
	var m memberInfo
	err := errors.New(notReadYet)
	switch v.kind {
	case none:
		err = errors.New("it is not among the members")
	case found:
		m, err = parseMember(v.entry)
		m.candidate.id = l.holder
	}
	switch {
	case err == nil && m != l.member:
		l.member = m
		if l.waits = notAskedYet; m.api == "" {
			l.waits = "its member has no api_url that can be asked"
		}
	case err == nil:
	case !l.member.hasAddress():
		l.waits = err.Error()
		if v.denied != "" {
			l.waits = v.denied
		}
	}
}

// takeCatalog looks for the holder among the instances of the service that pass.
func (l *leader) takeCatalog(v view, resolved netip.Addr) {
	if l.ready || l.key.Ready != ReadyCatalog || !l.member.hasAddress() {
		return
	}
	holder := l.member.candidate
	l.waits = "no instance of the service passes at its address"
	if v.denied != "" {
		l.waits = v.denied
	}
	if v.kind != found {
		return
	}
	l.ready = slices.ContainsFunc(v.claims.candidates, func(c candidate) bool {
		if c.host != "" || !holder.addr.IsValid() && !resolved.IsValid() {
			return c.port == holder.port && strings.EqualFold(c.host, holder.host)
		}
		return c.addr == holder.addr || c.addr == netip.AddrPortFrom(resolved, holder.port)
	})
}

// asksAPI answers whose REST API is to be asked whether it is ready, and in
// which term; empty: nobody's.
func (l *leader) asksAPI() (url string, term int) {
	if l.ready || l.key.Ready != ReadyAPI || !l.member.hasAddress() {
		return "", l.term
	}
	return l.member.api, l.term
}

// takeProbe takes what the REST API of the holder in a term has said. why is
// for what it is not ready; empty: it is.
func (l *leader) takeProbe(term int, why string) {
	if term != l.term || l.ready {
		return
	}
	l.ready, l.waits = why == "", why
}

// memberKey is where the holder's member is kept; empty: there is none to read.
func (l *leader) memberKey() string {
	if l.key.Format != PatroniFormat || l.holder == "" {
		return ""
	}
	return l.key.Key[:strings.LastIndexByte(l.key.Key, '/')+1] + "members/" + l.holder
}

// asksCatalog reports whether the instances of the service are needed.
func (l *leader) asksCatalog() bool {
	return l.key.Ready == ReadyCatalog && l.holder != "" && !l.ready
}

// host is the holder's host name, when that must be looked up before it is ready.
func (l *leader) host() string {
	if !l.asksCatalog() {
		return ""
	}
	return l.member.candidate.host
}

// status is what an operator should know.
func (l *leader) status() *LeaderStatus {
	s := &LeaderStatus{Key: l.key.Key}
	if e := l.entry; e != nil {
		s.Holder, s.Locked, s.ModifyIndex = short(strings.ToValidUTF8(strings.TrimSpace(e.value), "\uFFFD")), e.session != "", e.modify
	}
	s.Ready = l.holder != "" && l.ready && l.mastership.state == Found
	return s
}
