package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is one browser for all tests, which each have a page of it.
var chromium context.Context

func TestMain(m *testing.M) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox) // the tests run as root
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	var end context.CancelFunc
	chromium, end = chromedp.NewContext(allocator)
	code := m.Run()
	end()
	endAllocator()
	os.Exit(code)
}

// pageTimeout is how long a test may have a page.
const pageTimeout = 6 * time.Minute

// tab is the status page of an instance in the browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // what the browser finds fault with
}

// startBrowser starts the browser, with the first test that needs it.
var startBrowser = sync.OnceValue(func() error { return chromedp.Do(chromium) })

// open opens the page at that size, for people who like it dark or light. The test
// fails when the browser finds fault with it: an exception, something that the
// Content-Security-Policy forbids.
func open(t *testing.T, url string, width, height int64, scheme string) *tab {
	t.Helper()
	if err := startBrowser(); err != nil {
		t.Fatalf("start chromium, which make installs: %v", err)
	}
	b := &tab{t: t}
	ctx, end := chromedp.NewContext(chromium, chromedp.WithListener(b.hear))
	if err := chromedp.Do(ctx); err != nil { // without the timeout, which would be that of the browser
		t.Fatal(err)
	}
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithTimeout(ctx, pageTimeout)
	t.Cleanup(func() {
		cancel()
		end()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, trouble := range b.troubles {
			t.Errorf("the browser says: %s", trouble)
		}
	})
	likes := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, likes); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
	return b
}

func (b *tab) hear(event any) {
	said := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelError && e.Entry.Level != log.EntryLevelWarning {
			return
		}
		said = e.Entry.Text + " " + e.Entry.URL
	case *runtime.EventExceptionThrown:
		said = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			said += ": " + e.ExceptionDetails.Exception.Description
		}
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, said)
}

// requests are the addresses that the page asks for from now on.
func (b *tab) requests() <-chan string {
	b.t.Helper()
	asked := make(chan string, 1000)
	err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			asked <- e.Request.URL
		}
	})
	if err == nil {
		_, err = chromedp.Call(b.ctx, network.Enable, network.EnableParams{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return asked
}

// forgive takes note of nothing but what has that in it.
func (b *tab) forgive(text string) {
	b.t.Helper()
	eventually(b.t, "the browser to say "+text, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, trouble := range b.troubles {
			if strings.Contains(trouble, text) {
				b.troubles = append(b.troubles[:i], b.troubles[i+1:]...)
				return true
			}
		}
		return false
	})
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string, args ...any) T {
	b.t.Helper()
	quoted := make([]any, len(args))
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			b.t.Fatal(err)
		}
		quoted[i] = string(text)
	}
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](fmt.Sprintf(expression, quoted...), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// text is what the first element of a selector says, as people see it; empty: it is not shown.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `(e => e && e.checkVisibility() ? e.innerText : '')(document.querySelector(%s))`, selector)
}

// says waits until that is shown.
func (b *tab) says(selector, text string) {
	b.t.Helper()
	last := ""
	defer func() {
		if b.t.Failed() {
			b.t.Logf("%s says %q", selector, last)
		}
	}()
	eventually(b.t, fmt.Sprintf("%s to say %q", selector, text), func() bool {
		last = b.text(selector)
		return strings.Contains(last, text)
	})
}

// row waits until the row of a label says all of that.
func (b *tab) row(label string, texts ...string) {
	b.t.Helper()
	last := ""
	defer func() {
		if b.t.Failed() {
			b.t.Logf("the row of %s says %q", label, last)
		}
	}()
	eventually(b.t, fmt.Sprintf("the row of %s to say %q", label, texts), func() bool {
		last = eval[string](b, `([...document.querySelectorAll('#rows .row')].find(r => r.checkVisibility() && r.querySelector('.name').textContent === %s) ?? {innerText: ''}).innerText`, label)
		for _, text := range texts {
			if !strings.Contains(last, text) {
				return false
			}
		}
		return true
	})
}

// click clicks what is shown, as a person would.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// openLabel opens the panel of a label.
func (b *tab) openLabel(label string) {
	b.t.Helper()
	b.do(chromedp.Click(fmt.Sprintf(`//button[@class="name" and text()=%q]`, label)))
	b.says("#panel-title", label)
}

// unlock allows actions with a token.
func (b *tab) unlock(token string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.ID("token"), token))
	b.click("#unlock button")
}
