package page

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

const token = "open-sesame"

// stage is an instance with two labels of Consul and one that is static, with clients.
func stage(t *testing.T) (consul *realconsul.Agent, one, two *master, i *instance) {
	consul = realconsul.StartDev(t)
	one, two = startMaster(t, "sync-1"), startMaster(t, "sync-2")
	asia, cache := startMaster(t, "sync-3"), startMaster(t, "cache")
	register(t, consul, one, "europe", "master")
	register(t, consul, two, "europe", "slave")
	register(t, consul, asia, "asia", "master")
	i = start(t, "--consul-addr="+consul.Addr, "--admin-token-file="+tokenFile(t, token), "--fence-report=rosproxy/fence", "--instance=p1",
		"--listen=europe=127.0.0.1:0", "--listen=asia=127.0.0.1:0", "--listen=cache=127.0.0.1:0", "--static-master=cache="+cache.address)
	traffic(t, i.listen("europe"), 12, steady(20000, 20000, 20*time.Millisecond))
	traffic(t, i.listen("asia"), 5, steady(3000, 3000, 30*time.Millisecond))
	traffic(t, i.listen("cache"), 2, steady(200, 200, 50*time.Millisecond))
	return consul, one, two, i
}

func TestFailoverDrainAndPauseAreSeen(t *testing.T) {
	t.Parallel()
	consul, one, two, i := stage(t)
	b := open(t, i.admin, 1280, 900, "light")
	b.says("#state", "serving")
	b.row("europe", "ok", one.address, "\n12\n", "none")
	b.row("cache", "ok", "static")
	b.says("#total-trouble", "all well")
	b.says("#consul-list", consul.Addr)
	b.says("#report-list", "rosproxy/fence/p1-")
	eventually(t, "rates", func() bool {
		return strings.Contains(b.text("#total-up"), "kB/s") || strings.Contains(b.text("#total-up"), "MB/s")
	})

	register(t, consul, one, "europe", "slave")
	register(t, consul, two, "europe", "master")
	b.row("europe", "ok", two.address, "cut", "fenced")
	b.says("#event-list", "failover\neurope\n")
	b.says("#event-list", fmt.Sprintf("%s → %s, ", one.address, two.address))

	b.unlock(token)
	b.openLabel("europe")
	b.says("#panel-facts", two.address+", service sync-2, node dev")
	b.click("#do-pause")
	b.says("#confirm", "Pause europe?")
	b.click("#confirm-yes")
	b.says("#done", "europe is paused")
	b.row("europe", "paused", "left")
	b.says("#event-list", "pause\neurope\nby page-")
	b.openLabel("europe")
	b.click("#do-resume")
	b.click("#confirm-yes")
	b.says("#done", "europe is resumed")
	b.row("europe", "ok")

	b.click("#do-drain")
	b.click("#confirm-yes")
	b.says("#state", "draining")
	b.says("#drain", "to the deadline at")
	b.says("#event-list", "drain started")
	b.click("#do-undrain")
	b.click("#confirm-yes")
	b.says("#state", "serving")
	b.says("#event-list", "drain undone")
	if b.text("#drain") != "" {
		t.Error("the banner of the drain is still there")
	}
}

func TestResetIsDoneForALabelOrForAll(t *testing.T) {
	t.Parallel()
	cache := startMaster(t, "cache")
	i := start(t, "--listen=a=127.0.0.1:0", "--listen=b=127.0.0.1:0", "--static-master="+cache.address)
	traffic(t, i.listen("a"), 3, steady(100, 100, 50*time.Millisecond))
	traffic(t, i.listen("b"), 4, steady(100, 100, 50*time.Millisecond))
	b := open(t, i.admin, 1280, 900, "dark")
	b.row("a", "\n3\n")
	b.row("b", "\n4\n")
	b.says("#why-locked", "asks for no token")
	b.click("#unlock button")
	b.openLabel("a")
	b.click("#do-reset-label")
	b.says("#confirm", "connections of a?")
	b.click("#confirm-no") // nothing happens
	b.click("#do-reset-label")
	b.click("#confirm-yes")
	b.says("#done", "3 connections of a reset.")
	b.row("a", "\n3\n") // they come back
	b.says("#total-live", "7")
	b.click("#do-reset")
	b.says("#confirm", "all 7 live connections?")
	b.click("#confirm-yes")
	b.says("#done", "7 connections reset.")
}

// TestActionAskedForRightAfterARefusalIsDone: the browser tells of the end of a
// question, or of a panel, a moment later, when the next one stands.
func TestActionAskedForRightAfterARefusalIsDone(t *testing.T) {
	t.Parallel()
	cache := startMaster(t, "cache")
	i := start(t, "--listen=a=127.0.0.1:0", "--static-master="+cache.address)
	traffic(t, i.listen("a"), 3, steady(100, 100, 50*time.Millisecond))
	b := open(t, i.admin, 1280, 900, "dark")
	b.row("a", "\n3\n")
	b.click("#unlock button")
	b.openLabel("a")
	eval[any](b, `for (const at of ['#panel-close', 'button.name']) document.querySelector(at).click()`)
	eval[any](b, `for (const id of ['do-reset-label', 'confirm-no', 'do-reset-label']) document.getElementById(id).click()`)
	b.says("#confirm", "connections of a?")
	b.click("#confirm-yes")
	b.says("#done", "3 connections of a reset.")
}

// TestActionsNeedTheToken: which no storage of the browser has.
func TestActionsNeedTheToken(t *testing.T) {
	t.Parallel()
	cache := startMaster(t, "cache")
	i := start(t, "--listen=a=127.0.0.1:0", "--static-master="+cache.address, "--admin-token-file="+tokenFile(t, token))
	b := open(t, i.admin, 1280, 900, "light")
	b.says("#why-locked", "need the admin token")
	if b.text("#do-drain") != "" {
		t.Error("actions are shown without a token")
	}
	b.unlock("guessed")
	b.click("#do-drain")
	b.click("#confirm-yes")
	b.says("#done", "Not done: wrong bearer token")
	b.forgive("401")
	b.says("#why-locked", "need the admin token")
	b.says("#state", "serving")
	b.unlock(token)
	b.openLabel("a")
	b.click("#do-pause")
	b.click("#confirm-yes")
	b.says("#done", "a is paused")
	if got := eval[int](b, `localStorage.length + sessionStorage.length + document.cookie.length + document.getElementById('token').value.length`); got != 0 {
		t.Error("the token is kept in the browser")
	}
	b.click("#lock")
	if b.text("#do-drain") != "" {
		t.Error("actions are shown after they were locked again")
	}
}

// TestPollStopsWhileThePageIsHidden: a page in a tab that nobody looks at costs nothing.
func TestPollStopsWhileThePageIsHidden(t *testing.T) {
	t.Parallel()
	i := start(t, "--listen=a=127.0.0.1:0", "--static-master=127.0.0.1:1")
	b := open(t, i.admin, 1280, 900, "light")
	b.says("#state", "serving")
	polls := b.requests()
	hide := func(hidden bool) {
		eval[bool](b, `Object.defineProperty(document, 'hidden', {value: %s, configurable: true}) && document.dispatchEvent(new Event('visibilitychange'))`, hidden)
	}
	<-polls
	<-polls // it polls
	hide(true)
	time.Sleep(2 * time.Second) // for one that was under way
	for len(polls) > 0 {
		<-polls
	}
	time.Sleep(3500 * time.Millisecond)
	if n := len(polls); n > 0 {
		t.Errorf("got %d polls of a hidden page; want none", n)
	}
	hide(false)
	<-polls // the timeout of the test says that there is none
}

// TestPageSaysThatTheInstanceIsGone.
func TestPageSaysThatTheInstanceIsGone(t *testing.T) {
	t.Parallel()
	i := start(t, "--listen=a=127.0.0.1:0", "--static-master=127.0.0.1:1")
	b := open(t, i.admin, 1280, 900, "dark")
	b.says("#state", "serving")
	r, err := http.Post(i.admin+"/drain?grace=0s&timeout=0s&exit=true", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	b.says("#stale", "No answer")
	b.says("#stale", "old.")
	b.forgive("ERR_CONNECTION_REFUSED")
	b.mu.Lock()
	b.troubles = nil // each poll is one
	b.mu.Unlock()
	b.do(chromedp.Navigate("about:blank"))
	b.mu.Lock()
	b.troubles = nil
	b.mu.Unlock()
}

// TestDataCentresAreShown: one that is there, one that is not.
func TestDataCentresAreShown(t *testing.T) {
	t.Parallel()
	consul := realconsul.StartDev(t)
	i := start(t, "--consul-addr="+consul.Addr, "--consul-datacenter=dc1", "--consul-datacenter=dc2", "--listen=a=127.0.0.1:0")
	b := open(t, i.admin, 1280, 900, "dark")
	b.says("#datacenter-active", "None is known to be active, term 0")
	b.says("#datacenter-list", "up dc1")
	b.says("#datacenter-list", "not read dc2: ")
	b.row("a", "no master")
}

// TestTextFromElsewhereIsText: Consul says what services are called.
func TestTextFromElsewhereIsText(t *testing.T) {
	t.Parallel()
	consul := realconsul.StartDev(t)
	hostile := startMaster(t, `<img src=x onerror=document.title='taken'>`)
	other := startMaster(t, `<b id=planted>`)
	register(t, consul, hostile, "a", "master")
	i := start(t, "--consul-addr="+consul.Addr, `--listen=a=127.0.0.1:0`)
	b := open(t, i.admin, 1280, 900, "light")
	b.row("a", "ok")
	b.openLabel("a")
	b.says("#panel-facts", "service "+hostile.name)
	register(t, consul, other, "a", "master")
	b.says("#panel-facts", "service "+other.name)
	b.says("#event-list", "failover")
	if got := eval[int](b, `document.querySelectorAll('main img, dialog img, #planted').length`); got != 0 || eval[string](b, `document.title`) == "taken" {
		t.Errorf("got %d elements that a service's name has made; want none", got)
	}
}

// TestNothingIsLoadedFromElsewhere: the page and the endpoints of its instance are all.
func TestNothingIsLoadedFromElsewhere(t *testing.T) {
	t.Parallel()
	i := start(t, "--listen=a=127.0.0.1:0", "--static-master=127.0.0.1:1")
	b := open(t, "about:blank", 1280, 900, "light")
	asked := b.requests()
	b.do(chromedp.Navigate(i.admin))
	b.says("#state", "serving")
	b.row("a", "ok")
	for len(asked) > 0 {
		if url := <-asked; url != i.admin+"/" && url != i.admin+"/status" && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %s", url)
		}
	}
	// And no script that somebody plants would run.
	eval[bool](b, `(() => { const s = document.createElement('script'); s.textContent = 'document.title = "taken"'; document.body.append(s); return true; })()`)
	if got := eval[string](b, `document.title`); got == "taken" {
		t.Error("a script that is not the page's own runs")
	}
	b.forgive("Content Security Policy")
}

// TestThousandLabelsAreAFewRows: scrolled and filtered.
func TestThousandLabelsAreAFewRows(t *testing.T) {
	t.Parallel()
	const labels = 1000
	cache := startMaster(t, "cache")
	args := []string{"--static-master=" + cache.address, "--static-master=group-0500=127.0.0.1:9"}
	for n := range labels {
		args = append(args, fmt.Sprintf("--listen=group-%04d=127.0.0.1:0", n))
	}
	i := start(t, args...)
	traffic(t, i.listen("group-0999"), 3, steady(1000, 1000, 20*time.Millisecond))
	b := open(t, i.admin, 1280, 900, "dark")
	b.says("#total-labels", "1,000")
	b.row("group-0000", "ok")
	rows := func() int { return eval[int](b, `document.querySelectorAll('#rows .row').length`) }
	frames := eval[map[string]float64](b, scrollThrough)
	t.Logf("1,000 labels, scrolled through: %v", frames)
	b.row("group-0999", "ok", "\n3\n", "kB/s")
	if n := rows(); n > 60 {
		t.Errorf("got %d rows for 1,000 labels; want those that can be seen", n)
	}
	b.do(chromedp.SendKeys(chromedp.ID("filter"), "0500"))
	b.says("#shown", "1 of 1,000")
	b.row("group-0500", "127.0.0.1:9")
	b.do(chromedp.SendKeys(chromedp.ID("filter"), "x"))
	b.says("#nothing", "No label matches")
}

// scrollThrough scrolls from the first label to the last in three seconds, in which the page polls, and gives
// how long its frames took, in ms.
const scrollThrough = `new Promise(done => {
	const s = document.getElementById('scroller'), frames = [];
	let begun, before;
	requestAnimationFrame(function frame(at) {
		begun ??= at;
		if (before !== undefined) frames.push(at - before);
		before = at;
		const part = Math.min(1, (at - begun) / 3000);
		s.scrollTop = part * (s.scrollHeight - s.clientHeight);
		if (part < 1) return requestAnimationFrame(frame);
		frames.sort((a, b) => a - b);
		const of = q => frames[Math.min(frames.length - 1, Math.floor(q * frames.length))];
		done({frames: frames.length, median: of(.5), p99: of(.99), longest: frames.at(-1)});
	});
})`

// TestPageCanBeReadOnAPhone: nothing is wider than the screen.
func TestPageCanBeReadOnAPhone(t *testing.T) {
	t.Parallel()
	consul, one, two, i := stage(t)
	b := open(t, i.admin, 390, 844, "dark")
	b.row("europe", "ok", one.address)
	register(t, consul, one, "europe", "slave")
	register(t, consul, two, "europe", "master")
	b.row("europe", "ok", two.address, "B/s")
	if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %d pixels wide; want the phone's 390", wide)
	}
}
