package runtimeapi

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/admin"
)

// command is a command that clients may give.
type command struct {
	words string // with which it begins
	usage string // the rest, for the help
	help  string
	level Level
	way   way
	do    func(ctx context.Context, c *client, args []string) (string, error)
}

// way is how a command is carried out.
type way uint8

const (
	atOnce  way = iota
	inParts     // do uses client.inTurn for each part of a long answer, and client.send for all parts but the last
)

// commands are all commands, in alphabetical order. (init makes the list: help refers to it.)
var commands []command

func init() {
	commands = []command{
		{"clear counters", " [all]", "clear max statistics counters (or all counters)", Operator, atOnce, clearCounters},
		{"clear table", " <table> [<filter>]*", "remove an entry from a table (filter: data/key)", User, inParts, clearTable},
		{"disable agent", " <bk>/<srv>", "no effect: there are no agents", Admin, atOnce, setAgent(nil)},
		{"disable frontend", " <frontend>", "temporarily disable specific frontend", Admin, atOnce, enableFrontend(false)},
		{"disable health", " <bk>/<srv>", "stop a server's health checks", Admin, atOnce, toServer(checked(false))},
		{"disable server", " <bk>/<srv>", "put a server into maintenance", Admin, atOnce, toServer(inState(admin.ServerMaint))},
		{"enable agent", " <bk>/<srv>", "always refused: there are no agents", Admin, atOnce, setAgent(noAgent)},
		{"enable frontend", " <frontend>", "re-enable specific frontend", Admin, atOnce, enableFrontend(true)},
		{"enable health", " <bk>/<srv>", "resume a server's health checks", Admin, atOnce, toServer(checked(true))},
		{"enable server", " <bk>/<srv>", "make a server ready", Admin, atOnce, toServer(inState(admin.ServerReady))},
		{"get weight", " <bk>/<srv>", "report a server's current weight", User, atOnce, getWeight},
		{"help", " [<command>]", "list matching or all commands", User, atOnce, help},
		{"operator", "", "lower the level of the current CLI session to operator", User, atOnce, lower(Operator)},
		{"prompt", "", "toggle interactive mode with prompt", User, atOnce, prompt},
		{"quit", "", "disconnect", User, atOnce, quit},
		{"set server", " <bk>/<srv> [opts]", "change a server's state, weight or health", Admin, atOnce, setServer},
		{"set table", " <table> key <k> [data.* <v>]*", "update or create a table entry's data", User, atOnce, setTable},
		{"set timeout", " cli <seconds>", "change how long the session may be idle", User, atOnce, setTimeout},
		{"set weight", " <bk>/<srv> <weight>[%]", "change a server's weight", Admin, atOnce, setWeight},
		{"show backend", "", "list backends in the current running config", User, atOnce, showBackend},
		{"show cli level", "", "display the level of the current CLI session", User, atOnce, showLevel},
		{"show cli sockets", "", "dump list of cli sockets", User, atOnce, showSockets},
		{"show errors", " [<px>] [request|response]", "report last request and/or response errors for each proxy", Operator, atOnce, showErrors},
		{"show info", " [json|typed]*", "report information about the running process", User, atOnce, showInfo},
		{"show schema json", "", "report schema used for stats", User, atOnce, showSchema},
		{"show sess", " [<id>|all]", "report the list of current sessions or dump this exact session", Operator, inParts, showSess},
		{"show servers state", " [<backend>]", "dump volatile server information", User, atOnce, showServersState},
		{"show stat", " [json|no-maint|typed|up]*", "report counters for each proxy and server", User, atOnce, showStat},
		{"show table", " <table> [<filter>]*", "report table usage stats or dump this table's contents (filter: data/key)", User, inParts, showTable},
		{"show version", "", "show version of the current process", User, atOnce, showVersion},
		{"shutdown session", " <id>", "kill a specific session", Admin, atOnce, shutdownSession},
		{"shutdown sessions server", " <bk>/<srv>", "kill sessions on a server", Admin, atOnce, shutdownSessions},
		{"user", "", "lower the level of the current CLI session to user", User, atOnce, lower(User)},
	}
}

// find returns the command that words begin with, and its arguments.
func find(words []string) (*command, []string) {
	for i := range commands {
		own := strings.Fields(commands[i].words)
		if len(words) >= len(own) && slices.Equal(words[:len(own)], own) {
			return &commands[i], words[len(own):]
		}
	}
	return nil, nil
}

// matching lists the commands that begin with words, the last of which may be incomplete, and those that always help.
func matching(words []string, level Level) (text string, matches int) {
	start := strings.Join(words, " ")
	var b, always strings.Builder
	for i := range commands {
		c := &commands[i]
		to := &b
		switch {
		case c.words == "help" || c.words == "prompt" || c.words == "quit":
			to = &always
		case !strings.HasPrefix(c.words, start) || c.level > level:
			continue
		default:
			matches++
		}
		fmt.Fprintf(to, "  %-40s: %s\n", c.words+c.usage, c.help)
	}
	return b.String() + always.String(), matches
}

// unknown is the answer to words that are no command.
func unknown(words []string, level Level) string {
	for n := len(words); n > 0; n-- {
		if text, matches := matching(words[:n], level); matches > 0 {
			return "Unknown command, but maybe one of the following ones is a better match:\n" + text
		}
	}
	text, _ := matching(nil, level)
	return "Unknown command. Please enter one of the following commands only:\n" + text
}

func help(_ context.Context, c *client, args []string) (string, error) {
	text, _ := matching(args, c.level)
	return "The following commands are valid at this level:\n" + text, nil
}

func lower(to Level) func(context.Context, *client, []string) (string, error) {
	return func(_ context.Context, c *client, _ []string) (string, error) {
		if c.level < to {
			return "", answerError("Permission denied\n")
		}
		c.level = to
		return "", nil
	}
}

func prompt(_ context.Context, c *client, _ []string) (string, error) {
	c.prompt = !c.prompt
	return "", nil
}

func quit(_ context.Context, c *client, _ []string) (string, error) {
	c.over = true
	return "", nil
}

func setTimeout(_ context.Context, c *client, args []string) (string, error) {
	switch {
	case len(args) == 0 || args[0] != "cli":
		return "", answerError("'set timeout' only supports 'cli'.\n")
	case len(args) == 1:
		return "", answerError("Expects an integer value.\n")
	}
	n, err := strconv.Atoi(strings.TrimSuffix(args[1], "s"))
	if err != nil || n < 1 || n > int(maxTimeout/time.Second) {
		return "", answerError("Invalid timeout value.\n")
	}
	c.timeout = time.Duration(n) * time.Second
	return "", nil
}

func showLevel(_ context.Context, c *client, _ []string) (string, error) {
	return c.level.String() + "\n", nil
}

func showSockets(_ context.Context, c *client, _ []string) (string, error) {
	var b strings.Builder
	b.WriteString("# socket lvl processes\n")
	for _, s := range c.server.Sockets {
		fmt.Fprintf(&b, "unix@%s %v all\n", s.Path, s.Level)
	}
	return b.String(), nil
}

func showVersion(ctx context.Context, c *client, _ []string) (string, error) {
	s, err := c.server.Gateway.Status(ctx)
	return s.Version + "\n", err
}

func showBackend(ctx context.Context, c *client, _ []string) (string, error) {
	all, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	text := "# name\n"
	for _, p := range all.proxies {
		if p.backend {
			text += p.name + "\n"
		}
	}
	return text, nil
}
