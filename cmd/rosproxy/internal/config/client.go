package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/discovery/operator"
	"github.com/rosproxy/rosproxy/drain"
)

// Client is what a client command was told.
type Client struct {
	Admin     []Endpoint // of the instances, each once
	TokenFile string     // of the bearer token; empty: none is sent
	JSON      bool       // one document for programs, instead of text for people

	Connections ConnectionsQuery
	Drain       DrainRequest
	Pause       PauseRequest
	Election    operator.Election // for await-fence, which asks no instance
	Datacenters Datacenters       // for datacenter, which asks none either
}

// ConnectionsQuery says which connections are listed.
type ConnectionsQuery struct {
	Label string // empty: all
	Limit int    // for each instance; 0: all
}

// DrainRequest says how instances are drained.
type DrainRequest struct {
	Grace, Timeout *time.Duration // nil: as each is configured
	Exit           bool           // end the process
	Wait           bool           // until they are drained
}

// PauseRequest says what pause and resume are about.
type PauseRequest struct {
	Label             string // empty: the only one that there is
	For, Wait, Settle time.Duration
	CloseQuiet        bool
	Command           []string // none: the label stays paused
}

// Bounds of a pause: the instances take no longer one, and a shorter one could
// run out between two questions.
const (
	minPause = time.Second
	maxPause = 10 * time.Minute
)

// maxInstances bounds how many are asked at a time.
const maxInstances = 256

func (clientFlags) load(s settings, c *Client) (err error) {
	for _, v := range s.list("admin") {
		e, err := parseInstance(v)
		if err != nil {
			return err
		}
		if slices.Contains(c.Admin, e) {
			return v.fault("given twice")
		}
		if len(c.Admin) == maxInstances {
			return v.fault("more than %d instances", maxInstances)
		}
		c.Admin = append(c.Admin, e)
	}
	if v, ok := s.one("admin-token-file"); ok {
		if _, err := ReadToken(v.text); err != nil {
			return v.fault("%v", withoutPath(err))
		}
		c.TokenFile = v.text
	}
	c.JSON, err = parseBool(s, "json")
	return err
}

// parseInstance reads where the admin endpoints of an instance are.
func parseInstance(v value) (Endpoint, error) {
	e, _, err := parseEndpoint(v, nil)
	if err != nil || e.Network == "unix" {
		return e, err
	}
	if _, port, _ := SplitHostPort(e.Address); port == 0 {
		return e, v.fault("nobody listens on port 0")
	}
	return e, nil
}

func (f *connectionsFlags) load(s settings, c *Client) (err error) {
	if err := f.clientFlags.load(s, c); err != nil {
		return err
	}
	if c.Connections.Label, err = parseLabel(s); err != nil {
		return err
	}
	c.Connections.Limit, err = parseCount(s, "limit", 1, maxConns)
	return err
}

// parseLabel reads --label; empty: it was not given.
func parseLabel(s settings) (string, error) {
	v, ok := s.one("label")
	if !ok {
		return "", nil
	}
	if reason := badLabel(v.text); reason != "" {
		return "", v.fault("%s", reason)
	}
	return v.text, nil
}

func (f *pauseFlags) load(s settings, c *Client) (err error) {
	if err := f.clientFlags.load(s, c); err != nil {
		return err
	}
	p := &c.Pause
	if p.Label, err = parseLabel(s); err != nil {
		return err
	}
	if p.For, err = parseDuration(s, "for", minPause, maxPause); err != nil {
		return err
	}
	if p.Wait, err = parseDuration(s, "wait", 0, maxPause); err != nil {
		return err
	}
	if p.Settle, err = parseDuration(s, "settle", 0, maxPause); err != nil {
		return err
	}
	p.CloseQuiet, p.Command = f.CloseQuiet, f.Command
	return nil
}

// checkCommand finds arguments that were not meant as COMMAND, such as a label without
// its flag, and a -- behind which there is none, as of a variable that is empty: the
// label would stay paused.
func (f *pauseFlags) checkCommand(args []string) error {
	given := 0
	if i := slices.Index(args, "--"); i >= 0 {
		if given = len(args) - i - 1; given == 0 {
			return errors.New("--: COMMAND is missing behind it")
		}
	}
	if len(f.Command) > given {
		return fmt.Errorf("unexpected argument %s: a label goes behind --label, COMMAND behind --", Trim(f.Command[0], maxQuoted))
	}
	return nil
}

func (f *resumeFlags) load(s settings, c *Client) (err error) {
	if err := f.clientFlags.load(s, c); err != nil {
		return err
	}
	c.Pause.Label, err = parseLabel(s)
	return err
}

func (f *drainFlags) load(s settings, c *Client) (err error) {
	if err := f.clientFlags.load(s, c); err != nil {
		return err
	}
	for _, d := range []struct {
		flag string
		to   **time.Duration
	}{{"grace", &c.Drain.Grace}, {"timeout", &c.Drain.Timeout}} {
		if _, ok := s.one(d.flag); !ok {
			continue
		}
		given, err := parseDuration(s, d.flag, 0, drain.MaxDuration)
		if err != nil {
			return err
		}
		*d.to = &given
	}
	c.Drain.Exit, c.Drain.Wait = f.Exit, f.Wait
	return nil
}
