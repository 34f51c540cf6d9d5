package results

import (
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// What the plots are made of. gonum's own bars begin at zero, which a
// logarithmic axis does not have.

var (
	good = color.NRGBA{0x1b, 0x6c, 0xa8, 0xff}
	bad  = color.NRGBA{0xc0, 0x39, 0x2b, 0xff}
	ink  = color.NRGBA{0x22, 0x22, 0x22, 0xff}
)

// row is one bar from 1 to value, with a stroke at the target.
type row struct {
	label         string
	value, target float64
	met           bool
}

// rows are drawn one above the other.
type rows []row

// Plot draws the rows.
func (rs rows) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.StrokeLine2(draw.LineStyle{Color: ink, Width: 1}, x(1), y(-0.6), x(1), y(float64(len(rs))-0.4))
	for i, r := range rs {
		fill := good
		if !r.met {
			fill = bad
		}
		at := float64(i)
		rectangle(c, fill, x(1), y(at-0.32), x(r.value), y(at+0.32))
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: 2}, x(r.target), y(at-0.42), x(r.target), y(at+0.42))
		write(c, short(r.value)+"x", vg.Point{X: max(x(r.value), x(1), x(r.target)) + 4, Y: y(at)}, draw.XLeft, draw.YCenter)
	}
}

// DataRange is what the axes are to show: room for the numbers too.
func (rs rows) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax = 0.8, 1.2
	for _, r := range rs {
		xmin = min(xmin, r.value*0.9, r.target*0.9)
		xmax = max(xmax, r.value*1.4, r.target*1.4)
	}
	return xmin, xmax, -0.6, float64(len(rs)) - 0.4
}

// Ticks are the rows' labels.
func (rs rows) Ticks(float64, float64) []plot.Tick {
	var out []plot.Tick
	for i, r := range rs {
		out = append(out, plot.Tick{Value: float64(i), Label: r.label})
	}
	return out
}

// bar is one peer's summary.
type bar struct {
	peer string
	Summary
}

// group is the bars of one workload.
type group struct {
	label string
	bars  []bar
}

// groups are drawn side by side, each bar with a whisker from the least to the most.
type groups struct {
	all   []group
	floor float64 // where bars begin
}

// Plot draws the groups.
func (gs groups) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	whisker := draw.LineStyle{Color: ink, Width: 0.7}
	for i, g := range gs.all {
		width := 0.8 / float64(max(len(g.bars), 4))
		left := float64(i) - width*float64(len(g.bars))/2
		for k, b := range g.bars {
			from := left + float64(k)*width
			middle := x(from + width/2)
			rectangle(c, colourOf(b.peer), x(from), y(gs.floor), x(from+width*0.92), y(b.Median))
			c.StrokeLine2(whisker, middle, y(max(b.Min, gs.floor)), middle, y(b.Max))
			write(c, short(b.Median), vg.Point{X: middle, Y: y(b.Max) + 3}, draw.XCenter, draw.YBottom)
		}
	}
}

// DataRange is what the axes are to show.
func (gs groups) DataRange() (xmin, xmax, ymin, ymax float64) {
	top := 0.0
	for _, g := range gs.all {
		for _, b := range g.bars {
			top = max(top, b.Max)
		}
	}
	room := 1.3 // for the legend
	if gs.floor > 0 {
		room = math.Pow(top/gs.floor, 0.25)
	}
	return -0.6, float64(len(gs.all)) - 0.4, gs.floor, top * room
}

// Ticks are the groups' labels.
func (gs groups) Ticks(float64, float64) []plot.Tick {
	var out []plot.Tick
	for i, g := range gs.all {
		out = append(out, plot.Tick{Value: float64(i), Label: g.label})
	}
	return out
}

// peers are all that have a bar, in their order.
func (gs groups) peers() []string {
	var out []string
	for _, g := range gs.all {
		for _, b := range g.bars {
			if !slices.Contains(out, b.peer) {
				out = append(out, b.peer)
			}
		}
	}
	return out
}

// swatch is a peer's colour in the legend.
type swatch struct{ color.Color }

// Thumbnail draws the swatch.
func (s swatch) Thumbnail(c *draw.Canvas) { rectangle(*c, s.Color, c.Min.X, c.Min.Y, c.Max.X, c.Max.Y) }

// decades marks a logarithmic axis at the powers of ten, with strokes between
// them, and where there are few of those at 2 and 5 times them too.
type decades struct{}

// Ticks are the marks between lowest and highest.
func (decades) Ticks(lowest, highest float64) []plot.Tick {
	few := math.Log10(highest/lowest) < 3.5
	var out []plot.Tick
	for e := math.Floor(math.Log10(lowest)); e <= math.Ceil(math.Log10(highest)); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, e)
			if v < lowest || v > highest {
				continue
			}
			t := plot.Tick{Value: v}
			if m == 1 || few && (m == 2 || m == 5) {
				t.Label = strconv.FormatFloat(v, 'g', 3, 64)
				if v >= 1000 {
					t.Label = short(v)
				}
			}
			out = append(out, t)
		}
	}
	return out
}

// short writes v in few letters.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1000:
		return strconv.FormatFloat(v/1000, 'g', 3, 64) + "k"
	default:
		return Number(v)
	}
}

func rectangle(c draw.Canvas, fill color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

func write(c draw.Canvas, s string, at vg.Point, x text.XAlignment, y text.YAlignment) {
	c.FillText(text.Style{
		Color: ink, Font: font.From(sans, 7.5), XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler,
	}, at, s)
}
