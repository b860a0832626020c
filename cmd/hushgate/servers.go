package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

func newServersCommand() *cobra.Command {
	var a apiFlags
	show := func(cmd *cobra.Command, _ []string) error {
		return a.connect().Servers(cmd.Context(), cmd.OutOrStdout(), a.json)
	}
	cmd := &cobra.Command{
		Use: "servers [list|drain|ready|maint|weight|checks]", Short: "List the servers, or change them while the gateway runs", Args: cobra.NoArgs,
		Long: "List the servers of the running gateway, or change them by hand. drain: a server gets no new connections, and is checked.\n" +
			"maint (or disable): nor is it checked. ready (or enable): it gets new connections while it is up. weight: its share of new\n" +
			"connections. checks: whether it is checked. Connections that a server has go on in any case. What is set counts in place of\n" +
			"the configuration until it is set back or the service ends. A server is called backend/server.",
		Example: "  hushgate servers drain bk/mx1 --wait 10m && ssh mx1 reboot\n" +
			"  hushgate servers ready bk/mx1\n" +
			"  hushgate servers weight bk/mx2 50",
		RunE: show,
	}
	a.flags(cmd)
	listing := &cobra.Command{Use: "list", Short: "List the servers", Args: cobra.NoArgs, RunE: show}
	a.flags(listing)
	cmd.AddCommand(listing, newDrainCommand(),
		newServerStateCommand("ready", "enable", "Give servers new connections while they are up", admin.ServerReady),
		newServerStateCommand("maint", "disable", "Give servers no new connections, and do not check them", admin.ServerMaint),
		newWeightCommand(), newChecksCommand())
	return cmd
}

// serverNames completes the names of servers.
func (a *apiFlags) serverNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(cmd.Context(), (*console.Client).ServerNames)
	}
}

// completionPatience is how long a shell waits for names.
const completionPatience = 2 * time.Second

func (a *apiFlags) names(ctx context.Context, get func(*console.Client, context.Context) []string) ([]string, cobra.ShellCompDirective) {
	if ctx == nil { // cobra has none for some completions
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	return get(a.connect(), ctx), cobra.ShellCompDirectiveNoFileComp
}

// anyNumber is how many servers commands take that take any number.
const anyNumber = 1 << 10

func newServerStateCommand(name, alias, short string, state admin.ServerState) *cobra.Command {
	var a apiFlags
	cmd := &cobra.Command{
		Use: name + " BACKEND/SERVER...", Aliases: []string{alias}, Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect().SetServers(cmd.Context(), cmd.OutOrStdout(), a.json, args, admin.ServerChange{State: &state})
		},
	}
	cmd.ValidArgsFunction = a.serverNames(anyNumber)
	a.flags(cmd)
	return cmd
}

func newDrainCommand() *cobra.Command {
	var a apiFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "drain BACKEND/SERVER...", Short: "Give servers no new connections; they are still checked", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 {
				return fmt.Errorf("--wait: expected 0 or more, found %v", wait)
			}
			state := admin.ServerDrain
			err := a.connect().SetServers(cmd.Context(), cmd.OutOrStdout(), a.json, args, admin.ServerChange{State: &state})
			if err != nil || wait == 0 {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("waited for %v", wait))
			defer cancel()
			return a.connect().WaitIdle(ctx, args)
		},
	}
	cmd.ValidArgsFunction = a.serverNames(anyNumber)
	a.flags(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long until they have no connections; the exit status is 1 if they still have some")
	return cmd
}

func newWeightCommand() *cobra.Command {
	var a apiFlags
	cmd := &cobra.Command{
		Use: "weight BACKEND/SERVER WEIGHT|configured", Short: "Set a server's share of new connections", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to := admin.ServerChange{Weight: admin.Optional[*int]{Set: true}}
			if args[1] != configured {
				n, err := strconv.Atoi(args[1])
				if err != nil {
					return fmt.Errorf("weight: expected a number from 0 to 256, or %s, found %q", configured, args[1])
				}
				to.Weight.Value = &n
			}
			return a.connect().SetServers(cmd.Context(), cmd.OutOrStdout(), a.json, args[:1], to)
		},
	}
	cmd.ValidArgsFunction = a.thenWords(a.serverNames(1), configured)
	a.flags(cmd)
	return cmd
}

func newChecksCommand() *cobra.Command {
	var a apiFlags
	cmd := &cobra.Command{
		Use: "checks BACKEND/SERVER on|off", Short: "Switch a server's health checks on or off", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			on := args[1] == "on"
			if !on && args[1] != "off" {
				return fmt.Errorf("checks: expected on or off, found %q", args[1])
			}
			return a.connect().SetServers(cmd.Context(), cmd.OutOrStdout(), a.json, args[:1], admin.ServerChange{Checks: &on})
		},
	}
	cmd.ValidArgsFunction = a.thenWords(a.serverNames(1), "on", "off")
	a.flags(cmd)
	return cmd
}

// configured is the word that takes back what was set by hand.
const configured = "configured"

// thenWords completes the first argument as first does, and the second one by words.
func (a *apiFlags) thenWords(first cobra.CompletionFunc, words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return words, cobra.ShellCompDirectiveNoFileComp
		}
		return first(cmd, args, begun)
	}
}

func newSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set [delay|frontend]", Short: "Change a frontend while the gateway runs",
		Long: "Change a frontend while the gateway runs. What is set holds for clients that connect from then on, also over reloads and\n" +
			"upgrades, until it is set back or the service ends.",
		Example: "  hushgate set delay smtp 5s\n  hushgate set delay smtp configured\n  hushgate set frontend submission off",
	}
	cmd.AddCommand(newSetDelayCommand(), newSetFrontendCommand())
	return cmd
}

// frontendNames completes the name of a frontend.
func (a *apiFlags) frontendNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd.Context(), (*console.Client).FrontendNames)
}

func newSetFrontendCommand() *cobra.Command {
	var a apiFlags
	cmd := &cobra.Command{
		Use: "frontend FRONTEND on|off", Short: "Have a frontend take new connections, or refuse them", Args: cobra.ExactArgs(2),
		Long: "Have a frontend take new connections (on), or refuse them with an RST, as a closed port does (off): clients then try the next\n" +
			"MX at once. Connections go on in either case.",
		RunE: func(cmd *cobra.Command, args []string) error {
			on := args[1] == "on"
			if !on && args[1] != "off" {
				return fmt.Errorf("frontend: expected on or off, found %q", args[1])
			}
			return a.connect().EnableFrontend(cmd.Context(), cmd.OutOrStdout(), a.json, args[0], on)
		},
	}
	cmd.ValidArgsFunction = a.thenWords(a.frontendNames, "on", "off")
	a.flags(cmd)
	return cmd
}

func newSetDelayCommand() *cobra.Command {
	var a apiFlags
	cmd := &cobra.Command{
		Use: "delay FRONTEND TIME|configured", Short: "Change the delay of a frontend", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			delay, err := parseDelay(args[1])
			if err != nil {
				return err
			}
			return a.connect().SetDelay(cmd.Context(), cmd.OutOrStdout(), a.json, args[0], delay)
		},
	}
	cmd.ValidArgsFunction = a.thenWords(a.frontendNames, configured)
	a.flags(cmd)
	return cmd
}

// parseDelay reads a time; nil stands for the configuration's.
func parseDelay(s string) (*time.Duration, error) {
	if s == configured {
		return nil, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d%time.Millisecond != 0 {
		return nil, fmt.Errorf("expected a time in whole milliseconds such as 20s or 500ms, or %s, found %q", configured, s)
	}
	return &d, nil
}
