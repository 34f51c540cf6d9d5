// Package prometheus tests that the dashboard is what Grafana takes for one, with
// Grafana's own types. It is a module of its own for their sake.
package prometheus

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func read(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("rosproxy.dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDashboardIsOneToGrafana: no field that Grafana does not know, none missing that it requires.
func TestDashboardIsOneToGrafana(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	//lint:ignore SA1019 it is deprecated for a version that Grafana 10 and 11 do not know
	var d dashboard.Dashboard
	err := d.UnmarshalJSONStrict(read(t))
	if faults, ok := errors.AsType[cog.BuildErrors](err); err != nil && !(ok && len(faults) == 0) { // it returns an empty list for none
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	if d.SchemaVersion < 39 {
		t.Errorf("got schema version %d; want that of Grafana 10.4 or later", d.SchemaVersion)
	}
}

// source is a data source, as Grafana names it.
type source struct{ Type, UID string }

// chosen is the data source that the reader of the dashboard has chosen.
var chosen = source{"prometheus", "${datasource}"}

// panel is what the tests want of one.
type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  source
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct {
		RefID      string
		Datasource source
	}
}

func panels(t *testing.T) (all []panel) {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal(read(t), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return d.Panels
}

func TestEveryPanelSaysWhatItShowsAndAsksTheDataSourceThatIsChosen(t *testing.T) {
	ids := map[int]bool{}
	for _, p := range panels(t) {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: its id %d is none, or another's too", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.Type != "table" && p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %d %q: it has no title, no description or no unit", p.ID, p.Title)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource != chosen {
				t.Errorf("panel %q: query %s: got data source %v; want %v, and a name of its own", p.Title, target.RefID, target.Datasource, chosen)
			}
			refs[target.RefID] = true
		}
		if len(refs) == 0 || p.Datasource != chosen {
			t.Errorf("panel %q: got %d queries of %v; want some of %v", p.Title, len(refs), p.Datasource, chosen)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	const width = 24
	taken := map[[2]int]string{}
	for _, p := range panels(t) {
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > width {
			t.Errorf("panel %q: got place %+v; want one within %d columns", p.Title, g, width)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panel %q is where %q is", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
