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
	do    func(ctx context.Context, c *client, args []string) (string, error)
}

// commands are all commands, in alphabetical order. (init makes the list: help refers to it.)
var commands []command

func init() {
	commands = []command{
		{"disable health", " <bk>/<srv>", "stop a server's health checks", Admin, toServer(checked(false))},
		{"disable server", " <bk>/<srv>", "put a server into maintenance", Admin, toServer(inState(admin.ServerMaint))},
		{"enable health", " <bk>/<srv>", "resume a server's health checks", Admin, toServer(checked(true))},
		{"enable server", " <bk>/<srv>", "make a server ready", Admin, toServer(inState(admin.ServerReady))},
		{"get weight", " <bk>/<srv>", "report a server's current weight", User, getWeight},
		{"help", " [<command>]", "list matching or all commands", User, help},
		{"operator", "", "lower the level of the current CLI session to operator", User, lower(Operator)},
		{"prompt", "", "toggle interactive mode with prompt", User, prompt},
		{"quit", "", "disconnect", User, quit},
		{"set server", " <bk>/<srv> state|weight <to>", "change a server's state or weight", Admin, setServer},
		{"set timeout", " cli <seconds>", "change how long the session may be idle", User, setTimeout},
		{"set weight", " <bk>/<srv> <weight>[%]", "change a server's weight", Admin, setWeight},
		{"show backend", "", "list backends in the current running config", User, showBackend},
		{"show cli level", "", "display the level of the current CLI session", User, showLevel},
		{"show cli sockets", "", "dump list of cli sockets", User, showSockets},
		{"show info", " [json|typed]*", "report information about the running process", User, showInfo},
		{"show servers state", " [<backend>]", "dump volatile server information", User, showServersState},
		{"show stat", " [json|no-maint|typed|up]*", "report counters for each proxy and server", User, showStat},
		{"show version", "", "show version of the current process", User, showVersion},
		{"user", "", "lower the level of the current CLI session to user", User, lower(User)},
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
	var b strings.Builder
	for i := range commands {
		c := &commands[i]
		always := c.words == "help" || c.words == "prompt" || c.words == "quit"
		match := strings.HasPrefix(c.words, start) && c.level <= level
		if !match && !always {
			continue
		}
		if match && !always {
			matches++
		}
		fmt.Fprintf(&b, "  %-40s: %s\n", c.words+c.usage, c.help)
	}
	return b.String(), matches
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
