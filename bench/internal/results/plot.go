package results

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Plot is a picture that was drawn.
type Plot struct{ File, Title string }

// drawAll draws every plot that r has something for.
func drawAll(r *Run, dir string) ([]Plot, error) {
	var drawn []Plot
	save := func(file, title string, p *plot.Plot, width, height vg.Length) error {
		if p == nil {
			return nil
		}
		p.Title.Text = title
		if err := saveSVG(p, filepath.Join(dir, file), width, height); err != nil {
			return fmt.Errorf("draw %s: %w", file, err)
		}
		drawn = append(drawn, Plot{file, title})
		return nil
	}
	p, height := ratioPlot(r)
	if err := save("ratios.svg", "How many times better than the best of its rivals", p, 24*vg.Centimeter, height); err != nil {
		return nil, err
	}
	for _, f := range families {
		if err := save(f.file, f.title, f.draw(r), 24*vg.Centimeter, 9*vg.Centimeter); err != nil {
			return nil, err
		}
	}
	return drawn, nil
}

func saveSVG(p *plot.Plot, path string, width, height vg.Length) error {
	c := vgsvg.New(width, height)
	canvas := draw.New(c)
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path()) // readable on a dark page too
	p.Draw(draw.Crop(canvas, 8, -14, 8, -8))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return err
	}
	// The fonts after the first have its widths, and are where it is not.
	svg := bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(path, svg, 0o644)
}

// newPlot is an empty plot in the style of all of them.
func newPlot() *plot.Plot {
	p := plot.New()
	p.Title.Padding = 6
	for style, size := range map[*text.Style]vg.Length{
		&p.Title.TextStyle: 13, &p.X.Label.TextStyle: 10, &p.Y.Label.TextStyle: 10,
		&p.X.Tick.Label: 9, &p.Y.Tick.Label: 9, &p.Legend.TextStyle: 9,
	} {
		style.Font = font.From(sans, size)
		style.Color = ink
	}
	return p
}

var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

// The colours of peers, apart also for those who do not see colours.
var colours = map[string]color.Color{
	Subject:      color.NRGBA{0x1b, 0x6c, 0xa8, 0xff},
	"haproxy":    color.NRGBA{0xe0, 0x7b, 0x39, 0xff},
	"nginx":      color.NRGBA{0x4f, 0x9d, 0x69, 0xff},
	"floor":      color.NRGBA{0xc9, 0xb4, 0x58, 0xff},
	"bulk floor": color.NRGBA{0xc9, 0xb4, 0x58, 0xff},
	"io.Copy":    color.NRGBA{0x9a, 0x9a, 0x9a, 0xff},
	"direct":     color.NRGBA{0xd5, 0xd5, 0xd5, 0xff},
}

func colourOf(peer string) color.Color {
	if c, ok := colours[peer]; ok {
		return c
	}
	return color.NRGBA{0x7a, 0x52, 0xa1, 0xff} // another binary of rosproxy
}

// floors are no rivals: nobody could use them.
var floors = []string{"floor", "bulk floor"}

// ratioPlot shows each comparison with rivals as how many times better
// rosproxy is, with its target; nil: there is none. Worst samples are not shown.
func ratioPlot(r *Run) (*plot.Plot, vg.Length) {
	var rows rows
	for _, w := range r.Workloads {
		for _, c := range w.Checks {
			v := w.Judge(c)
			if !v.Known || len(c.Against) == 0 || c.Worst || slices.Contains(floors, c.Against[0]) {
				continue
			}
			better, target := 1/v.Value, 1/c.Limit
			if c.AtLeast {
				better, target = v.Value, c.Limit
			}
			rows = append(rows, row{label: w.Name + ": " + c.Figure, value: better, target: target, met: v.Met})
		}
	}
	if len(rows) == 0 {
		return nil, 0
	}
	slices.Reverse(rows) // the axis counts from below
	p := newPlot()
	p.Add(rows)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	p.X.Label.Text = "times better; 1: the same. A stroke marks the target; red: missed."
	p.Y.Tick.Marker = rows
	p.Y.Tick.Length = 0
	p.Y.LineStyle.Width = 0
	return p, vg.Length(len(rows))*0.55*vg.Centimeter + 2.5*vg.Centimeter
}

// family is figures of several workloads that are drawn beside each other.
type family struct {
	file, title, unit string
	logarithmic       bool
	bars              [][3]string // workload, figure, and label
}

var families = []family{
	{"bulk-cpu.svg", "Bulk: CPU time per GB (less is better)", "s/GB", false, each(cpuGB, "bulk-up-4", "bulk-up-64", "bulk-down-4", "bulk-down-64")},
	{"bulk-throughput.svg", "Bulk: throughput (more is better)", "GB/s", false, each("throughput", "bulk-up-4", "bulk-up-64", "bulk-down-4", "bulk-down-64")},
	{"bulk-copied-cpu.svg", "Bulk into a sink that copies: CPU time per GB (less is better)", "s/GB", false, each(cpuGB, copiedNames...)},
	{"bulk-copied-throughput.svg", "Bulk into a sink that copies: throughput (more is better)", "GB/s", false, each("throughput", copiedNames...)},
	{"exchange-cpu.svg", "Requests and responses: CPU time per round trip (less is better)", "us", false, each(cpuTrip, exchangeNames...)},
	{"exchange-p99.svg", "Requests and responses: p99 (less is better)", "us, logarithmic", true, each("p99", exchangeNames...)},
	{"failover.svg", "Cut, storm and election: time (less is better)", "ms, logarithmic", true, [][3]string{
		{"cut", "last closed", "cut of 8,000:\nlast closed"}, {"storm", "all served again", "storm of 8,000:\nall served again"},
		{"election", "last closed", "election:\nlast closed"}, {"election", "first byte from the new master", "election:\nfirst byte"},
		{"election-cluster", "last closed", "3 Consul servers:\nlast closed"}, {"election-cluster", "first byte from the new master", "3 Consul servers:\nfirst byte"},
	}},
	{"idle-memory.svg", "Idle connections: resident memory of the proxy (less is better)", "bytes per connection, logarithmic", true, each("RSS per connection", "idle")},
}

const (
	cpuGB   = "CPU per GB"
	cpuTrip = "CPU per round trip"
)

var copiedNames = []string{"bulk-copied-up-4", "bulk-copied-up-64", "bulk-copied-down-4", "bulk-copied-down-64"}

var exchangeNames = []string{"pingpong-1", "pingpong-64", "pingpong-1000", "request-4k", "request-32k"}

func each(figure string, workloads ...string) [][3]string {
	var out [][3]string
	for _, w := range workloads {
		out = append(out, [3]string{w, figure, w})
	}
	return out
}

// draw draws f; nil: nothing of it was measured.
func (f family) draw(r *Run) *plot.Plot {
	var groups groups
	lowest := math.Inf(1)
	for _, b := range f.bars {
		i := slices.IndexFunc(r.Workloads, func(w *Workload) bool { return w.Name == b[0] })
		if i < 0 {
			continue
		}
		w := r.Workloads[i]
		figure := w.Figure(b[1])
		if figure == nil {
			continue
		}
		g := group{label: b[2]}
		for _, peer := range w.Peers {
			if s := figure.Of(peer); s.Count > 0 {
				g.bars = append(g.bars, bar{peer: peer, Summary: s})
				lowest = min(lowest, s.Min)
			}
		}
		if len(g.bars) > 0 {
			groups.all = append(groups.all, g)
		}
	}
	if len(groups.all) == 0 {
		return nil
	}
	p := newPlot()
	p.Y.Label.Text = f.unit
	if f.logarithmic && lowest > 0 {
		groups.floor = math.Pow(10, math.Floor(math.Log10(lowest)))
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	}
	p.Add(groups)
	p.X.Tick.Marker = groups
	p.X.Tick.Length = 0
	for _, peer := range groups.peers() {
		p.Legend.Add(peer, swatch{colourOf(peer)})
	}
	p.Legend.Top = true
	p.Legend.XOffs = -4
	return p
}
