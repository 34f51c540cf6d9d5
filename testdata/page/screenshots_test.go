package page

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// TestScreenshots takes those of the README, dark and light, after five minutes with
// failovers, a pause and a loss: make screenshots. Without SCREENSHOTS, which names the
// directory for them, it takes none.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Skip("SCREENSHOTS names no directory")
	}
	consul := realconsul.StartDev(t)
	masters := map[string]*master{}
	for _, name := range []string{"eu-1", "eu-2", "asia-1", "asia-2", "us-1", "pg1", "cache"} {
		masters[name] = startMaster(t, name)
	}
	for name, label := range map[string]string{"eu-1": "europe", "asia-1": "asia", "us-1": "america"} {
		register(t, consul, masters[name], label, "master")
	}
	lock(t, consul, "service/pg/leader", masters["pg1"].address)
	i := start(t, "--consul-addr="+consul.Addr, "--admin-token-file="+tokenFile(t, token), "--fence-report=rosproxy/fence", "--instance=proxy-1",
		"--listen=europe=127.0.0.1:0", "--listen=asia=127.0.0.1:0", "--listen=america=127.0.0.1:0", "--listen=pg=127.0.0.1:0", "--listen=cache=127.0.0.1:0",
		"--leader-key=pg=service/pg/leader", "--static-master=cache="+masters["cache"].address, "--hold-timeout=5m")
	begun := time.Now()
	for label, c := range map[string]struct {
		clients, request, answer int
		pause, period            time.Duration
	}{
		"europe":  {48, 900, 14000, 40 * time.Millisecond, 70 * time.Second},
		"asia":    {19, 6000, 2500, 60 * time.Millisecond, 110 * time.Second},
		"america": {27, 1500, 5000, 70 * time.Millisecond, 45 * time.Second},
		"pg":      {12, 300, 1200, 20 * time.Millisecond, 90 * time.Second},
		"cache":   {6, 120, 400, 15 * time.Millisecond, 30 * time.Second},
	} {
		traffic(t, i.listen(label), c.clients, load{c.request, c.answer, func() time.Duration {
			wave := 1.4 + math.Sin(2*math.Pi*float64(time.Since(begun))/float64(c.period))
			return time.Duration(float64(c.pause) * wave * (0.3 + 1.4*rand.Float64()))
		}})
	}
	dark, light := open(t, i.admin, 1180, 860, "dark"), open(t, i.admin, 1180, 860, "light")
	wait := func(d time.Duration) { time.Sleep(time.Until(begun.Add(d))) }
	wait(90 * time.Second)
	register(t, consul, masters["eu-2"], "europe", "master")
	wait(91 * time.Second)
	register(t, consul, masters["eu-1"], "europe", "slave")
	wait(200 * time.Second)
	register(t, consul, masters["asia-2"], "asia", "master")
	wait(201 * time.Second)
	register(t, consul, masters["asia-1"], "asia", "slave")
	wait(285 * time.Second)
	dark.unlock(token)
	dark.openLabel("pg")
	dark.click("#do-pause")
	dark.click("#confirm-yes")
	dark.says("#done", "pg is paused")
	wait(292 * time.Second)
	register(t, consul, masters["us-1"], "america", "slave")
	dark.row("america", "lost")
	traffic(t, i.listen("america"), 3, steady(1, 1, time.Second)) // who waits
	wait(305 * time.Second)
	for name, b := range map[string]*tab{"dark": dark, "light": light} {
		b.row("america", "lost", "3 held")
		b.row("pg", "paused")
		b.keep(filepath.Join(dir, name+".png"))
	}
}

// lock has a session hold a key with that value.
func lock(t *testing.T, consul *realconsul.Agent, key, value string) {
	t.Helper()
	session, _, err := consul.Client().Session().CreateNoChecks(&api.SessionEntry{}, nil)
	if err == nil {
		_, _, err = consul.Client().KV().Acquire(&api.KVPair{Key: key, Value: []byte(value), Session: session}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keep writes a picture of the page, as small as can be.
func (b *tab) keep(path string) {
	b.t.Helper()
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.t.Fatal(err)
	}
	var small bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&small, paletted(picture)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, small.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// paletted is a picture in the 256 colours that it has most of, which makes a third of it.
func paletted(picture image.Image) image.Image {
	pixels := map[color.Color]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			pixels[picture.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(pixels), func(a, b color.Color) int { return pixels[b] - pixels[a] })
	palette := color.Palette(colours[:min(len(colours), 256)])
	places := map[color.Color]uint8{}
	for c := range pixels {
		places[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, places[picture.At(x, y)])
		}
	}
	return out
}
