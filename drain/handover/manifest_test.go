package handover

import (
	"strings"
	"testing"
)

func TestProcessWithoutTheVariableIsNoSuccessor(t *testing.T) {
	p, env, err := Inherit([]string{"A=1", "B=2"})
	if p != nil || err != nil || len(env) != 2 {
		t.Errorf("got %v, %v, %v; want nobody and the environment", p, env, err)
	}
}

func TestVariableThatIsWrongIsAnError(t *testing.T) {
	good := manifest{Protocol: protocol, PID: 1, Generation: 2}
	for text, says := range map[string]string{
		"":  "unexpected end of JSON",
		"x": "invalid character",
		strings.Replace(good.String(), `"protocol":1`, `"protocol":2`, 1):                                       "protocol 2",
		strings.Replace(good.String(), `"pid":1`, `"pid":0`, 1):                                                 "pid 0",
		strings.Replace(good.String(), `"generation":2`, `"generation":1`, 1):                                   "generation 1",
		good.String() + strings.Repeat(" ", maxManifest):                                                        "bytes are too many",
		manifest{Protocol: 1, PID: 1, Generation: 2, Sockets: make([]manifestSocket, 1024)}.String():            "descriptor",
		manifest{Protocol: 1, PID: 1, Generation: 2, Ancestors: maxAncestors + 1}.String():                      "65 ancestors",
		manifest{Protocol: 1, PID: 1, Generation: 2, Ancestors: -1}.String():                                    "-1 ancestors",
		manifest{Protocol: 1, PID: 1, Generation: 2, Listed: true}.String():                                     "list of sockets",
		manifest{Protocol: 1, PID: 1, Generation: 2, Listed: true, Sockets: make([]manifestSocket, 1)}.String(): "beside the list",
	} {
		p, _, err := Inherit([]string{Variable + "=" + text})
		if err == nil || p != nil || !strings.Contains(err.Error(), Variable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: got %v, %v; want an error that names the variable and says %q", text, p, err, says)
		}
	}
}

func TestTooManySocketsAreAnError(t *testing.T) {
	m := manifest{Sockets: make([]manifestSocket, maxSockets+1)}
	if err := m.checkCount(); err == nil || !strings.Contains(err.Error(), "16385 sockets") {
		t.Errorf("got %v; want an error that names the count", err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest{Protocol: protocol, PID: 1, Generation: 2, Sockets: []manifestSocket{{Name: "admin", Shared: true}}, Ancestors: 1}.String())
	f.Add(`{"protocol":1,"pid":-1}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		if m.Generation < 2 || m.PID < 1 || m.descriptors() > 2+maxSockets+maxAncestors {
			t.Errorf("got %+v; want an error", m)
		}
		again, err := parseManifest(m.String())
		if err != nil || again.String() != m.String() {
			t.Errorf("got %v, %v; want it to be read as written, %v", again, err, m)
		}
	})
}
