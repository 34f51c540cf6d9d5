package discovery

import "testing"

func TestLabelsShareQuestions(t *testing.T) {
	c := Config{Service: "sync", Tags: []string{"role=master", "blue"}, Datacenter: "dc1"}
	for _, l := range []struct {
		label Label
		want  int // with the labels before it
		why   string
	}{
		{Label{Name: "a", Tagged: true}, 1, "the first"},
		{Label{Name: "b", Tagged: true}, 1, "only its own tag is another"},
		{Label{Name: "c"}, 1, "as the first, without a tag of its own"},
		{Label{Name: "d", Tags: []string{"blue", "role=master", "blue"}}, 1, "the same tags in another order"},
		{Label{Name: "e", Service: "sync", Datacenter: "dc1"}, 1, "of its own what is for all"},
		{Label{Name: "f", Tags: []string{"primary"}}, 2, "other tags"},
		{Label{Name: "g", Service: "db"}, 3, "another service"},
		{Label{Name: "h", Datacenter: "dc2"}, 4, "another data centre"},
		{Label{Name: "i", Leader: &LeaderKey{Key: "pg/leader"}}, 5, "a key"},
		{Label{Name: "j", Service: "other", Leader: &LeaderKey{Key: "pg/leader", Format: PatroniFormat}}, 5, "the same key"},
		{Label{Name: "k", Leader: &LeaderKey{Key: "pg/Leader"}}, 6, "another key"},
		{Label{Name: "l", Datacenter: "dc2", Leader: &LeaderKey{Key: "pg/leader"}}, 7, "the key of another data centre"},
	} {
		c.Labels = append(c.Labels, l.label)
		if got := c.Questions(); got != l.want {
			t.Errorf("with label %s (%s): got %d questions; want %d", l.label.Name, l.why, got, l.want)
		}
	}
	if got := (Config{}).Questions(); got != 0 {
		t.Errorf("without a label: got %d; want 0", got)
	}
}
