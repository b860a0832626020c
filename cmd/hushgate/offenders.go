package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hushgate/internal/console"
)

func newOffendersCommand() *cobra.Command {
	var a apiFlags
	var o console.OffenderOptions
	show := func(cmd *cobra.Command, args []string) error {
		o.Network, o.JSON = strings.Join(args, ""), a.json
		return a.connect().Offenders(cmd.Context(), cmd.OutOrStdout(), &o)
	}
	cmd := &cobra.Command{
		Use: "offenders [list|add|remove]", Short: "List the clients that talked early again and again, or change the list", Args: cobra.NoArgs,
		Long: "List the offenders of the running gateway: clients that have talked early as often as its configuration says (offenders), or\n" +
			"that were made offenders by hand. A client can be made one, and be taken off the list. By default a client is an IPv4\n" +
			"address or the /64 of an IPv6 address.",
		Example: "  hushgate offenders --all\n  hushgate offenders add 198.18.0.7 --for 2h\n  hushgate offenders remove 2001:db8:1:2::/64",
		RunE:    show,
	}
	listing := &cobra.Command{Use: "list [NETWORK]", Short: "List the offenders", Args: cobra.MaximumNArgs(1), RunE: show}
	for _, c := range []*cobra.Command{cmd, listing} {
		c.Flags().BoolVar(&o.All, "all", false, "list also clients that have talked early, but not often enough")
	}
	add, remove := newOffendersAddCommand(&a), newOffendersRemoveCommand(&a)
	for _, c := range []*cobra.Command{cmd, listing, add, remove} {
		a.flags(c)
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.AddCommand(listing, add, remove)
	return cmd
}

func newOffendersAddCommand(a *apiFlags) *cobra.Command {
	var left time.Duration
	cmd := &cobra.Command{
		Use: "add ADDRESS|NETWORK", Short: "Make a client an offender", Args: cobra.ExactArgs(1),
		Long: "Make the client that an address belongs to an offender. A network must be what the configuration counts as one client. If it\n" +
			"is an offender already, its time is set anew. Its pass, if it has one, is taken. An address that an access rule lets in,\n" +
			"or has observed, is refused.",
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := parseClient(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && left < time.Second {
				return fmt.Errorf("--for %v: expected 1s or more", left)
			}
			return a.connect().AddOffender(cmd.Context(), cmd.OutOrStdout(), a.json, who, left)
		},
	}
	cmd.Flags().DurationVar(&left, "for", 0, "for how long, such as 2h (default: as the configuration says)")
	return cmd
}

func newOffendersRemoveCommand(a *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove ADDRESS|NETWORK", Short: "Forget the early talk of a client", Args: cobra.ExactArgs(1),
		Long: "Forget the early talk of the client that an address belongs to, so that it is no offender any more. The exit status is 1 if\n" +
			"it was none.",
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := parseClient(args[0])
			if err != nil {
				return err
			}
			return a.connect().RemoveOffender(cmd.Context(), cmd.OutOrStdout(), a.json, who)
		},
	}
}

// parseClient reads an address or a network.
func parseClient(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return p, fmt.Errorf("expected an address or a network, such as 192.0.2.1 or 2001:db8::/64, found %q", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its length: expected %v", s, p.Masked())
	}
	return p, nil
}
