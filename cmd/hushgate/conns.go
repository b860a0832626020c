package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hushgate/internal/console"
)

func newConnsCommand() *cobra.Command {
	var a apiFlags
	var f console.ConnFilter
	var o console.ConnOptions
	show := func(cmd *cobra.Command, _ []string) error {
		if err := o.Check(); err != nil {
			return err
		}
		o.JSON = a.json
		return a.connect().Connections(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &f, &o)
	}
	cmd := &cobra.Command{
		Use: "conns [list|kill]", Short: "List the present connections, or end some", Args: cobra.NoArgs,
		Long: "List the present connections of the running gateway, or end those of a client, a frontend or a server. Of connections\n" +
			"that end, those that wait for a server are told 421 (or with --reset nothing); all others are reset.",
		Example: "  hushgate conns --phase held --sort left --limit 20\n" +
			"  hushgate conns kill 198.18.0.0/24 --phase held",
		RunE: show,
	}
	listing := &cobra.Command{Use: "list", Short: "List the present connections", Args: cobra.NoArgs, RunE: show}
	for _, c := range []*cobra.Command{cmd, listing} {
		a.flags(c)
		a.filterFlags(c, &f)
		c.Flags().StringVar(&f.Client, "client", "", "only of this `ADDRESS`, address and port, or network")
		c.Flags().StringVar(&o.Sort, "sort", "", "`ORDER`: "+strings.Join(console.Orders(), ", "))
		c.Flags().BoolVar(&o.Reverse, "reverse", false, "sort the other way round")
		c.Flags().IntVar(&o.Limit, "limit", 1000, "show the first `N`; 0: all")
		must(c.RegisterFlagCompletionFunc("client", cobra.NoFileCompletions))
		must(c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(console.Orders(), cobra.ShellCompDirectiveNoFileComp)))
	}
	cmd.AddCommand(listing, newKillCommand())
	return cmd
}

// filterFlags are the flags by which connections are selected.
func (a *apiFlags) filterFlags(c *cobra.Command, f *console.ConnFilter) {
	c.Flags().StringSliceVar(&f.Phases, "phase", nil, "only in this `PHASE`, such as held or spliced; several with commas")
	c.Flags().StringVar(&f.Frontend, "frontend", "", "only of this frontend")
	c.Flags().StringVar(&f.Server, "server", "", "only of this `BACKEND/SERVER`")
	must(c.RegisterFlagCompletionFunc("frontend", a.completeWith((*console.Client).FrontendNames)))
	must(c.RegisterFlagCompletionFunc("server", a.completeWith((*console.Client).ServerNames)))
	must(c.RegisterFlagCompletionFunc("phase", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		names, directive := a.names(cmd.Context(), (*console.Client).PhaseNames)
		return listOf(names, begun), directive
	}))
}

// completeWith completes by names that the gateway knows.
func (a *apiFlags) completeWith(get func(*console.Client, context.Context) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.names(cmd.Context(), get)
	}
}

// listOf completes the last word of a list with commas.
func listOf(words []string, begun string) (list []string) {
	before := begun[:strings.LastIndex(begun, ",")+1]
	for _, w := range words {
		if !slices.Contains(strings.Split(before, ","), w) {
			list = append(list, before+w)
		}
	}
	return list
}

// must panics at an error that only a mistake in a command's declaration can cause.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("declare a command: %v", err))
	}
}

func newKillCommand() *cobra.Command {
	var a apiFlags
	var f console.ConnFilter
	var reset bool
	cmd := &cobra.Command{
		Use: "kill [CLIENT]", Short: "End connections", Args: cobra.MaximumNArgs(1),
		Long: "End the connections of a client (an address, an address and port, or a network), a frontend or a server.",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Client = strings.Join(args, "")
			return a.connect().Kill(cmd.Context(), cmd.OutOrStdout(), a.json, &f, reset)
		},
	}
	a.flags(cmd)
	a.filterFlags(cmd, &f)
	cmd.Flags().BoolVar(&reset, "reset", false, "reset also those that would be told 421")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func newPassCommand() *cobra.Command {
	var a apiFlags
	show := func(cmd *cobra.Command, args []string) error {
		return a.connect().Passes(cmd.Context(), cmd.OutOrStdout(), a.json, strings.Join(args, ""))
	}
	cmd := &cobra.Command{
		Use: "pass [list|add|remove]", Short: "List the clients that need not wait again, or change them", Args: cobra.NoArgs,
		Long: "List the passes of the running gateway: clients that have waited once, and need not wait again. A pass can be given to a\n" +
			"client that must not wait, and taken from one. By default a client is an IPv4 address or the /64 of an IPv6 address.",
		RunE: show,
	}
	listing := &cobra.Command{Use: "list [NETWORK]", Short: "List passes", Args: cobra.MaximumNArgs(1), RunE: show}
	add := &cobra.Command{
		Use: "add ADDRESS", Short: "Give the client of an address a pass", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect().GrantPass(cmd.Context(), cmd.OutOrStdout(), a.json, args[0])
		},
	}
	remove := &cobra.Command{
		Use: "remove ADDRESS", Short: "Take the pass of the client of an address", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect().TakePass(cmd.Context(), cmd.OutOrStdout(), a.json, args[0])
		},
	}
	for _, c := range []*cobra.Command{cmd, listing, add, remove} {
		a.flags(c)
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.AddCommand(listing, add, remove)
	return cmd
}
