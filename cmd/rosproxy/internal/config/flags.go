package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Command is what the command line asks for.
type Command string

// The commands.
const (
	Run     Command = "run"
	Check   Command = "check"
	Version Command = "version"
	Help    Command = "help" // which has been printed

	Status      Command = "status"
	Connections Command = "connections"
	Drain       Command = "drain"
	Undrain     Command = "undrain"
	Pause       Command = "pause"
	Resume      Command = "resume"
	AwaitFence  Command = "await-fence"
	Datacenter  Command = "datacenter"
)

// grammar is the command line. Its values are text: config.go gives them their
// types, so that a fault reads the same wherever the value came from. The
// defaults stand here and nowhere else. So do the keys of the configuration
// file: those with the tag listener are keys of a listener as well, which has
// one value, a list of them, or some: either.
type grammar struct {
	Run     struct{} `cmd:"" default:"1" help:"Run the proxy (the default)."`
	Check   struct{} `cmd:"" help:"Validate the configuration and the machine, open no listener."`
	Version struct{} `cmd:"" help:"Print the version."`

	Config           string   `placeholder:"FILE" help:"Configuration file, YAML: its keys are the names of these flags, and listeners. A flag beats the environment beats the file."`
	Listen           []string `sep:"none" default:"default=:7800" placeholder:"[LABEL=]HOST:PORT" help:"A listener; with LABEL the master must also carry the tag label=LABEL. Repeatable."`
	Service          string   `listener:"one" default:"sync" placeholder:"NAME" help:"Consul service that the candidates register (${default})."`
	Tag              []string `listener:"list" sep:"none" default:"role=master" placeholder:"TAG" help:"Tag of the master (role=master). Repeatable, all must match."`
	ConsulAddr       []string `sep:"none" placeholder:"ADDR" help:"Consul address (from the environment, else 127.0.0.1:8500). Repeatable: all are watched, the newest answer wins."`
	ConsulDatacenter []string `listener:"some" sep:"none" placeholder:"DC" help:"Consul data centre to ask (the agent's own). Repeatable: the master is in one of them, the active one, which --datacenter-key names."`
	DatacenterKey    string   `default:"rosproxy/datacenter" placeholder:"KEY" help:"With several data centres: Consul KV key of the entry that names the active one, in each of them (${default})."`
	RemoteMaster     string   `default:"forward" placeholder:"forward|hold" help:"With several data centres, and the master in another one: connect clients to it, or hold them and be unready, as a warm spare does (${default})."`
	LeaderKey        []string `listener:"one" sep:"none" placeholder:"[LABEL=]KEY" help:"Consul KV key that the leader holds: it, not a tag, says who is master; without LABEL for every listener that has none of its own and no static master. Repeatable."`
	LeaderFormat     string   `listener:"one" default:"address" placeholder:"patroni|address" help:"address: the value of the leader key is HOST:PORT. patroni: it is the name of a member, whose address stands in members/NAME beside the key (${default})."`
	LeaderLock       string   `listener:"one" default:"required" placeholder:"required|ignored" help:"required: a leader key that no session holds names nobody. ignored: the value alone counts (${default})."`
	LeaderReady      string   `listener:"one" placeholder:"api|catalog|now" help:"When a new leader gets connections: its REST API answers GET /primary with 200; an instance of --service with --tag at its address is passing; at once (api with patroni, else now)."`
	StaticMaster     []string `listener:"one" sep:"none" placeholder:"[LABEL=]HOST:PORT" help:"No Consul: a fixed master, for trials and benchmarks. Repeatable."`
	OnOutage         string   `listener:"one" default:"keep" placeholder:"keep|fence" help:"Consul unreachable: keep the last master, or reset and hold after --fence-after (${default})."`
	FenceAfter       string   `listener:"one" default:"30s" placeholder:"D" help:"How long consistent reads of Consul go unanswered, from the first one on, before that fences; at least 1s (${default})."`
	OnLost           string   `listener:"one" placeholder:"keep|cut" help:"The master is gone and none is elected: keep live connections, or end them after --lost-after (keep; cut with a leader key)."`
	LostAfter        string   `listener:"one" default:"0s" placeholder:"D" help:"With cut: how long the master must be gone (${default})."`
	FenceReport      string   `listener:"one" placeholder:"PREFIX" help:"Consul KV prefix under which this instance reports what it has obeyed, for await-fence (none; rosproxy/fence with several data centres)."`
	FenceTTL         string   `name:"fence-ttl" default:"20s" placeholder:"D" help:"TTL of the reports, 5s to 1h: a dead instance delays a promotion by it, and without Consul connections end a fifth before it (${default})."`
	Instance         string   `placeholder:"NAME" help:"Name of this instance in the reports (the host name)."`
	VerifyEvery      string   `default:"1500ms" placeholder:"D" help:"Between two consistent reads of one question at one Consul address (${default})."`
	OnFailover       string   `placeholder:"COMMAND" help:"Command of sh, run for each failover, lost, back, pause and activation, with the facts in ROSPROXY_EVENT, _LABEL, _ID, _FROM, _TO, _EPOCH, _DROPPED, _REASON (none)."`
	OnConflict       string   `listener:"one" default:"newest" placeholder:"newest|refuse" help:"Two instances claim to be master: take the newest, or none (${default})."`
	HoldTimeout      string   `listener:"one" default:"10s" placeholder:"D" help:"How long a new connection waits for a master that accepts it; 0: reset at once (${default})."`
	HoldMax          string   `default:"16384" placeholder:"N" help:"Most connections held; further ones are reset (${default})."`
	ReleaseRate      string   `listener:"one" default:"0" placeholder:"N" help:"Held clients of a label released to a new master, at most so many a second; 0: all at once (${default})."`
	ConnectTimeout   string   `listener:"one" default:"2s" placeholder:"D" help:"One attempt to connect to the master (${default})."`
	Drop             string   `listener:"one" default:"rst" placeholder:"rst|fin" help:"How the cut of a failover ends connections (${default})."`
	AcceptProxy      string   `listener:"one" default:"off" placeholder:"off|on" help:"on: every connection must begin with a PROXY protocol header, v1 or v2 (${default})."`
	AcceptProxyFrom  []string `listener:"list" sep:"none" placeholder:"CIDR" help:"With --accept-proxy on: only these peers may connect (any). Repeatable."`
	SendProxy        string   `listener:"one" default:"off" placeholder:"off|v1|v2" help:"PROXY protocol header sent to the master (${default})."`
	MaxConns         string   `placeholder:"N" help:"Client connections at a time; beyond it accepting pauses (from RLIMIT_NOFILE)."`
	IdleTimeout      string   `listener:"one" default:"0" placeholder:"D" help:"Longest time with no byte in or out either way; 0: no limit (${default})."`
	HalfCloseTimeout string   `default:"1m" placeholder:"D" help:"Longest time with one side closed and no byte in or out; 0: no limit (${default})."`
	Keepalive        string   `default:"1m" placeholder:"D" help:"Idle time after which both peers are probed; 0: off (${default})."`
	UserTimeout      string   `default:"30s" placeholder:"D" help:"A peer that acknowledges nothing for so long is dead; 0: off (${default})."`
	SocketBuffer     string   `default:"0" placeholder:"N" help:"Bytes for each of the two buffers of each socket, 4096 or more; 0: the kernel tunes them (${default})."`
	Congestion       string   `name:"congestion-control" placeholder:"NAME" help:"TCP congestion control of all connections (the system's, but for those within this host none that paces)."`
	Shards           string   `placeholder:"N" help:"Event loops (number of CPUs)."`
	AdminListen      string   `default:"127.0.0.1:7802" placeholder:"ADDR" help:"Admin and health endpoints: HOST:PORT or unix:PATH (${default})."`
	AdminTokenFile   string   `placeholder:"PATH" help:"File with the bearer token that POST, DELETE and GET /connections require."`
	AdminHost        []string `sep:"none" placeholder:"NAME" help:"Name by which the admin endpoints may be asked where no token is (besides those of the loopback and IP addresses). Repeatable."`
	AgentCheckListen string   `placeholder:"ADDR" help:"Answer HAProxy's agent checks here: HOST:PORT or unix:PATH (none)."`
	DrainGrace       string   `default:"5s" placeholder:"D" help:"Draining: unready but still accepting (${default})."`
	DrainTimeout     string   `default:"5m" placeholder:"D" help:"Draining: after this the rest is closed (${default})."`
	UpgradeTimeout   string   `default:"30s" placeholder:"D" help:"SIGUSR2, SIGHUP: how long the new process has to become ready (${default})."`
	LogLevel         string   `default:"info" placeholder:"LEVEL" help:"trace, debug, info, warn or error (${default})."`
	LogFormat        string   `placeholder:"json|console" help:"Form of the log (console on a terminal, else json)."`
	LogConnections   bool     `help:"Log closed connections at info instead of debug."`
}

const description = `Keeps clients connected to the one current master, as Consul names it.

Every flag has an environment variable: ROSPROXY_ and its name in capitals, with _ for -. ` +
	`Lists repeat the flag, or are separated by commas in the environment. A flag beats the environment, and that the file of --config.`

// Parse reads the command line and the environment, NAME=VALUE. Help goes to
// out. The Config is that of Run and Check; of a client command it has nothing
// but Client. An error names flag, value and reason; OneLine makes it fit for a
// terminal, whatever the user typed.
func Parse(args, env []string, out io.Writer) (Command, Config, error) {
	args = asCommand(args)
	if c, ok := clientCommandOf(args); ok {
		return parseClient(c, args, env, out)
	}
	command, s, err := parseArgs(args, env, out)
	if err != nil || command != Run && command != Check {
		return command, Config{}, err
	}
	if path, ok := s.one(flagConfig); ok {
		if s.file, err = readFile(path, s.flags); err != nil {
			return command, Config{}, err
		}
	}
	c, err := load(s)
	return command, c, err
}

// parseArgs reads the command line of all but the client commands, which stand
// in its help. Help goes to out.
func parseArgs(args, env []string, out io.Writer) (Command, settings, error) {
	var commands []kong.Option
	for _, c := range clientCommands {
		commands = append(commands, kong.DynamicCommand(string(c.name), c.help, "", &struct{}{}))
	}
	command, s, err := parseWith(new(grammar), args, env, out, commands...)
	if _, ok := clientCommandOf([]string{string(command)}); ok { // behind a flag of run
		return "", settings{}, fmt.Errorf("%s: its flags come after it, and it has none of run's", command)
	}
	return command, s, err
}

// parseWith reads a command line by a grammar. Help goes to out.
func parseWith(grammar any, args, env []string, out io.Writer, more ...kong.Option) (Command, settings, error) {
	helped := false
	parser, err := kong.New(grammar, append([]kong.Option{
		kong.Name("rosproxy"),
		kong.Description(description),
		kong.Writers(out, out),
		kong.WithHyphenPrefixedParameters(true), // or "-1s" would be no value to find fault with
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: 100}),
	}, more...)...)
	if err != nil {
		return "", settings{}, fmt.Errorf("build the command line: %w", err)
	}
	ctx, err := parser.Parse(args)
	if helped {
		return Help, settings{}, nil
	}
	if err != nil {
		return "", settings{}, errors.New(plainly.Replace(err.Error()))
	}
	s := newSettings(ctx, env)
	if err := s.checkValues(); err != nil {
		return "", settings{}, err
	}
	if err := s.checkOnce(ctx.Path); err != nil {
		return "", settings{}, err
	}
	return Command(ctx.Command()), s, nil
}

// The names that are used apart from their values.
const (
	flagConfig       = "config"
	flagSocketBuffer = "socket-buffer"
	flagCongestion   = "congestion-control"
	flagListen       = "listen"
	tagOfListener    = "listener" // of a flag in the grammar
)

// checkValues finds flags that have swallowed the next one.
func (s settings) checkValues() error {
	for flag, texts := range s.args {
		for _, t := range texts {
			if strings.HasPrefix(t, "--") {
				return value{flag: flag, text: t}.fault("needs a value, and this is a flag")
			}
		}
	}
	return nil
}

// checkOnce finds a flag of one call that is given twice. Of run's flags the last
// one counts, as units and scripts put theirs behind those of others; but who
// names two labels means both, and would have one paused, or awaited, alone.
func (s settings) checkOnce(path []*kong.Path) error {
	given := map[string]bool{}
	for _, p := range path {
		if p.Flag == nil || !p.Flag.Tag.Has(tagOnce) || p.Flag.IsBool() {
			continue
		}
		if name := p.Flag.Name; given[name] {
			return value{flag: name, text: s.args[name][0]}.fault("given twice")
		}
		given[p.Flag.Name] = true
	}
	return nil
}

// asCommand takes --version for version, and help for --help, alone or with a
// command, which people try as well.
func asCommand(args []string) []string {
	switch {
	case len(args) > 0 && args[0] == "--version":
		return append([]string{string(Version)}, args[1:]...)
	case len(args) == 1 && args[0] == string(Help):
		return []string{"--help"}
	case len(args) == 2 && (args[0] == string(Help) || args[0] == "--help"):
		return []string{args[1], "--help"}
	}
	return args
}

// plainly says in our words what kong says in those of its scanner.
var plainly = strings.NewReplacer(
	`expected string value but got "EOL" (<EOL>)`, "needs a value",
	`missing value, expecting "<arg>"`, "needs a value",
	`[<action>] must be one of`, "datacenter: must be one of",
)
