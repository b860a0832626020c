package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hushgate/internal/plan"
	"hushgate/internal/policyroute"
)

func newRulesCommand() *cobra.Command {
	var s configFlags
	var server, form string
	var via []string
	cmd := &cobra.Command{
		Use: "rules -f FILE", Short: "Print the firewall rules that `run` installs, or what a server needs",
		Long: "Print the firewall rules that `run` installs. With --for-server, print the commands for a mail server with\n" +
			"another default gateway: packets from its service port then go to this machine, all others as before.\n" +
			"Nothing is changed.",
		Example: "  hushgate rules -f /etc/hushgate.cfg\n  hushgate rules -f /etc/hushgate.cfg --for-server smtp1 | ssh root@smtp1 sh",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"form", "via"} {
				if server == "" && cmd.Flags().Changed(flag) {
					return fmt.Errorf("--%s needs --for-server", flag)
				}
			}
			p, err := s.plan(cmd)
			if err != nil {
				return err
			}
			text := p.Firewall.String()
			if server != "" {
				if text, err = forServer(p, server, form, via); err != nil {
					return err
				}
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return err
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&server, "for-server", "", "print what this server needs, named NAME or BACKEND/NAME")
	f.StringVar(&form, "form", policyroute.All, "form of the output: "+strings.Join(policyroute.Forms(), ", "))
	f.StringSliceVar(&via, "via", nil, "this machine's address on the servers' network (default: found from the interfaces)")
	return cmd
}

func forServer(p *plan.Plan, server, form string, via []string) (string, error) {
	var addrs []netip.Addr
	for _, v := range via {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return "", fmt.Errorf("--via: expected an IP address, found %q", v)
		}
		addrs = append(addrs, a)
	}
	routes, err := p.ServerRoutes(server, addrs)
	if err != nil {
		return "", err
	}
	return policyroute.Write(form, server, routes)
}
