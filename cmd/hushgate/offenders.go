package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hushgate/internal/gateway"
	"hushgate/internal/instance"
)

func newOffendersCommand() *cobra.Command {
	var asJSON bool
	list := func(cmd *cobra.Command, _ []string) error {
		var all []gateway.Offender
		if err := askOffenders(cmd.Context(), &all, "list"); err != nil {
			return err
		}
		return showOffenders(cmd.OutOrStdout(), all, asJSON)
	}
	cmd := &cobra.Command{
		Use: "offenders [list]", Short: "List the clients that talked early again and again, or change the list", Args: cobra.NoArgs,
		Long: "List the offenders of the gateway that runs in this network namespace: clients that have talked early as often as its\n" +
			"configuration says (offenders). Commands add a client to the list, and remove one.",
		RunE: list,
	}
	flags := func(c *cobra.Command) { c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array") }
	flags(cmd)
	listing := &cobra.Command{Use: "list", Short: "List the offenders", Args: cobra.NoArgs, RunE: list}
	flags(listing)
	cmd.AddCommand(listing, newOffendersAddCommand(), newOffendersRemoveCommand())
	return cmd
}

func newOffendersAddCommand() *cobra.Command {
	var left time.Duration
	cmd := &cobra.Command{
		Use: "add ADDRESS", Short: "Make the client of an address an offender", Args: cobra.ExactArgs(1),
		Long: "Make the client that an address belongs to an offender. By default a client is an IPv4 address or the /64 of an IPv6\n" +
			"address. If it is one already, its time is set anew. Its pass, if it has one, is taken. An address that an access rule\n" +
			"lets in, or has observed, is refused.",
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := parseClient(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && left < time.Second {
				return fmt.Errorf("--for %v: expected 1s or more", left)
			}
			var done gateway.Changed
			if err := askOffenders(cmd.Context(), &done, "add", who.String(), left.String()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), done.Client, "is an offender")
			return nil
		},
	}
	cmd.Flags().DurationVar(&left, "for", 0, "for how long, such as 2h (default: as the configuration says)")
	return cmd
}

func newOffendersRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove ADDRESS", Short: "Forget the early talk of the client of an address", Args: cobra.ExactArgs(1),
		Long: "Forget the early talk of the client that an address belongs to, so that it is no offender any more. The exit status is 1 if\n" +
			"it was none.",
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := parseClient(args[0])
			if err != nil {
				return err
			}
			var done gateway.Changed
			if err := askOffenders(cmd.Context(), &done, "remove", who.String()); err != nil {
				return err
			}
			if !done.Found {
				return fmt.Errorf("%s is no offender", done.Client)
			}
			fmt.Fprintln(cmd.OutOrStdout(), done.Client, "is no offender any more")
			return nil
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

// askOffenders sends a command about offenders to the running gateway, and reads its answer.
func askOffenders(ctx context.Context, answer any, words ...string) error {
	a, err := instance.Ask(ctx, "offenders "+strings.Join(words, " "))
	switch {
	case err != nil:
		return err
	case a.Error != "":
		return errors.New(a.Error)
	}
	if err := json.Unmarshal(a.Data, answer); err != nil {
		return fmt.Errorf("understand hushgate's answer: %w", err)
	}
	return nil
}

func showOffenders(w io.Writer, all []gateway.Offender, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return ignoreClosed(e.Encode(all))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLIENT\tUNTIL\tEARLY TALKS\tDROPPED BY THE KERNEL")
	for _, o := range all {
		until, kernel := "for ever", "no"
		if !o.Until.IsZero() {
			until = o.Until.Local().Format(time.DateTime)
		}
		if o.Kernel {
			kernel = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", o.Client, until, o.Talks, kernel)
	}
	return ignoreClosed(t.Flush())
}

// ignoreClosed returns no error if nobody reads any more.
func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
