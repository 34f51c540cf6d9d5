package config

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// clientCommand is a command that asks running instances, or Consul about them.
// Package client has what it does.
type clientCommand struct {
	name  Command
	help  string
	flags func() clientGrammar
}

// clientGrammar is a pointer to the flags and arguments of one client command,
// for kong: as in the grammar of run, its values are text. The flags that most of
// them have are those of clientFlags, embedded. A flag has a variable as those of
// run have, unless it has the tag once: it is for one call alone, and a variable
// of its name may be there for something else (ROSPROXY_LABEL).
type clientGrammar interface {
	// load gives the settings their types. Its error names flag, value and reason.
	load(settings, *Client) error
}

// clientCommands are in the order of the help.
var clientCommands = []clientCommand{
	{Status, "Show the state of running instances.", func() clientGrammar { return new(statusFlags) }},
	{Connections, "List the live connections of running instances.", func() clientGrammar { return new(connectionsFlags) }},
	{Drain, "Drain running instances.", func() clientGrammar { return new(drainFlags) }},
	{Undrain, "Let drained or draining instances serve again.", func() clientGrammar { return new(undrainFlags) }},
	{Pause, "Pause a label at running instances, and run a command while it is paused.", func() clientGrammar { return new(pauseFlags) }},
	{Resume, "Resume a label that is paused.", func() clientGrammar { return new(resumeFlags) }},
	{Datacenter, "Show which data centre is the active one, or activate another.", func() clientGrammar { return new(datacenterFlags) }},
	{AwaitFence, "Wait until all reports say that an election has been obeyed.", func() clientGrammar { return new(awaitFenceFlags) }},
}

const tagOnce = "once"

// clientFlags say which instances are asked, and how.
type clientFlags struct {
	Admin          []string `sep:"none" default:"127.0.0.1:7802" placeholder:"ADDR" help:"Admin endpoints of an instance: HOST:PORT or unix:PATH (${default}). Repeatable, an instance each; from ROSPROXY_ADMIN, separated by commas."`
	AdminTokenFile string   `placeholder:"FILE" help:"File with the bearer token of the instances; from ROSPROXY_ADMIN_TOKEN_FILE."`
	JSON           bool     `name:"json" help:"One JSON document, for programs."`
}

type statusFlags struct{ clientFlags }

type connectionsFlags struct {
	clientFlags
	Label string `once:"" placeholder:"LABEL" help:"Those of one label (all)."`
	Limit string `once:"" placeholder:"N" help:"At most so many of each instance (all)."`
}

type drainFlags struct {
	clientFlags
	Grace   string `once:"" placeholder:"D" help:"How long the instances still accept (their --drain-grace)."`
	Timeout string `once:"" placeholder:"D" help:"After this the rest is closed (their --drain-timeout)."`
	Exit    bool   `once:"" help:"End the processes when they are drained; there is no way back."`
	Wait    bool   `once:"" help:"Wait until the instances are drained or their processes are gone, and show how many connections live."`
}

type undrainFlags struct{ clientFlags }

type pauseFlags struct {
	clientFlags
	Label      string   `once:"" placeholder:"LABEL" help:"The label (the only one that there is)."`
	For        string   `once:"" default:"30s" placeholder:"D" help:"A pause ends by itself after this; it is moved on while this command lives (${default})."`
	Wait       string   `once:"" default:"10s" placeholder:"D" help:"For all instances to have no live connection (${default})."`
	CloseQuiet bool     `once:"" help:"Close live connections, each in a moment of silence."`
	Settle     string   `once:"" default:"5s" placeholder:"D" help:"After COMMAND, for all instances to have another master (${default})."`
	Command    []string `arg:"" optional:"" name:"command" help:"Run when all instances are paused and quiet; they resume when it has ended."`
}

type resumeFlags struct {
	clientFlags
	Label string `once:"" placeholder:"LABEL" help:"The label (the only one that there is)."`
}

// clientCommandOf finds the client command that args begin with.
func clientCommandOf(args []string) (clientCommand, bool) {
	for _, c := range clientCommands {
		if len(args) > 0 && args[0] == string(c.name) {
			return c, true
		}
	}
	return clientCommand{}, false
}

func parseClient(c clientCommand, args, env []string, out io.Writer) (Command, Config, error) {
	flags := c.flags()
	command, s, err := parseWith(&struct{}{}, args, env, out, kong.DynamicCommand(string(c.name), c.help, "", flags))
	if err != nil || command == Help {
		return command, Config{}, err
	}
	if p, ok := flags.(*pauseFlags); ok {
		if err := p.checkCommand(args); err != nil {
			return "", Config{}, err
		}
	}
	var config Config
	if err := flags.load(s, &config.Client); err != nil {
		return "", Config{}, err
	}
	return c.name, config, nil
}

// clientVariables are the variables of the client commands' flags.
func clientVariables() (variables []string) {
	for _, c := range clientCommands {
		k, err := kong.New(c.flags())
		if err != nil {
			panic(fmt.Sprintf("grammar of %s: %v", c.name, err)) // every test that parses finds it
		}
		for _, f := range k.Model.Flags {
			if !f.Tag.Has(tagOnce) {
				variables = append(variables, envName(f.Name))
			}
		}
	}
	return variables
}
