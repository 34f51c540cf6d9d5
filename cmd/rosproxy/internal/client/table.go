package client

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table is lines whose columns stand below each other, in all of its parts that
// are printed in turn.
type table struct {
	columns []column
	rows    [][]text
	titled  bool // the line of titles has been printed
}

// column is one of a table.
type column struct {
	title string
	right bool // its cells end below each other
	// Where the lines would be too long, columns give way in the order of this
	// number, 0: never, which is for what is short; down to least, which is 0 for
	// one that is left out then.
	gives, least int

	absent bool
	width  int // of what has been printed; it never shrinks but to fit
}

// leave leaves columns out.
func (t *table) leave(columns ...int) {
	for _, n := range columns {
		t.columns[n].absent = true
	}
}

// add adds a line; the texts are printed so that none can hide another.
func (t *table) add(cells ...text) {
	for n := range cells {
		cells[n].text = printable(cells[n].text)
	}
	t.rows = append(t.rows, cells)
}

// print prints the lines that were added since it was called last.
func (t *table) print(p *printer) {
	t.fit()
	if !t.titled {
		var titles []text
		for _, c := range t.columns {
			titles = append(titles, text{c.title, bold})
		}
		t.printRow(p, titles)
		t.titled = true
	}
	for _, r := range t.rows {
		t.printRow(p, r)
	}
	t.rows = nil
}

const gap = 2 // between two columns

// fit gives each column its width.
func (t *table) fit() {
	for n := range t.columns {
		c := &t.columns[n]
		for _, r := range t.rows {
			c.width = max(c.width, utf8.RuneCountInString(r[n].text))
		}
		if c.absent {
			c.width = 0
		}
		if c.width > 0 { // a column of nothing has no title
			c.width = max(c.width, utf8.RuneCountInString(c.title))
		}
	}
	for order := 1; order <= len(t.columns) && t.width() > columns; order++ {
		for n := range t.columns {
			c := &t.columns[n]
			if c.gives != order {
				continue
			}
			left := c.width - (t.width() - columns)
			if c.width = min(c.width, max(left, c.least)); c.width < utf8.RuneCountInString(c.title) && c.least == 0 {
				c.width = 0
			}
		}
	}
}

// width is that of a line.
func (t *table) width() (w int) {
	for _, c := range t.columns {
		if c.width > 0 {
			w += c.width + gap
		}
	}
	return w - gap
}

func (t *table) printRow(p *printer, cells []text) {
	pending := 0 // spaces that are written if something comes behind them
	for n, c := range t.columns {
		if c.width == 0 {
			continue
		}
		cell := cells[n]
		cell.text = shortened(cell.text, c.width)
		size := utf8.RuneCountInString(cell.text)
		if size == 0 {
			pending += c.width + gap
			continue
		}
		before, after := 0, c.width-size
		if c.right {
			before, after = after, 0
		}
		fmt.Fprint(p.w, strings.Repeat(" ", pending+before), p.styled(cell))
		pending = after + gap
	}
	fmt.Fprintln(p.w)
}

// shortened is s in at most so many characters: of a longer one the middle is
// left out, since both ends tell names and addresses apart.
func shortened(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	tail := (most - 1) / 2
	return string(runes[:most-1-tail]) + "…" + string(runes[len(runes)-tail:])
}
