package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"hushgate/internal/console"
	"hushgate/internal/doctor"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
)

func newDoctorCommand() *cobra.Command {
	var s configFlags
	var from []string
	var asJSON, all bool
	cmd := &cobra.Command{
		Use: "doctor [-f FILE]", Short: "Prove the path of mail through this machine, and say what to mend",
		Long: "Examine what lies between clients and servers: rules, kernel settings, interfaces, service addresses, next hops,\n" +
			"servers, time and capacity. Above all ask each server for a connection from a foreign address, as a client would,\n" +
			"and watch whether its answer comes back through this machine. Nothing is changed. It works with and without a\n" +
			"running gateway, whose configuration it reads if no other is given, and needs root. Findings that are well are\n" +
			"counted, and shown with --all.\n\n" +
			"The exit status is 0 if there is no fault, and 1 if there is one.",
		Example: "  hushgate doctor\n  hushgate doctor -f /etc/hushgate/hushgate.yaml --json | jq '.findings[] | select(.grade == \"fault\")'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := s.site(cmd, from)
			if err != nil {
				return err
			}
			r := &doctor.Report{}
			doctor.Examine(cmd.Context(), site, func(f doctor.Finding) {
				r.Findings = append(r.Findings, f)
				if !asJSON && (all || f.Grade != doctor.Good) {
					writeFinding(cmd.OutOrStdout(), &f)
				}
			})
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false)
				if err := e.Encode(r); err != nil {
					return fmt.Errorf("write the findings: %w", err)
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), summary(r))
			}
			if r.Worst() == doctor.Fault {
				return errReported
			}
			return nil
		},
	}
	s.flags(cmd)
	cmd.Args = s.fileOrRunning
	f := cmd.Flags()
	f.StringSliceVar(&from, "from", nil, fmt.Sprintf("foreign address to ask the servers from, one for each family (default %v and %v)", doctor.DefaultFrom[0], doctor.DefaultFrom[1]))
	f.BoolVar(&asJSON, "json", false, "print the findings as JSON")
	f.BoolVar(&all, "all", false, "print also what is well")
	return cmd
}

// fileOrRunning is fileArgument; without a file it takes the running gateway's.
func (s *configFlags) fileOrRunning(cmd *cobra.Command, args []string) error {
	if len(args) == 0 && s.file == "" {
		file, err := console.Connect("").ConfigurationFile(cmd.Context())
		if err != nil {
			return fmt.Errorf("expected a configuration: %s -f FILE, because the running gateway's is not known: %w", cmd.CommandPath(), err)
		}
		s.file = file
	}
	return s.fileArgument(cmd, args)
}

// site reads the configuration and the network.
func (s *configFlags) site(cmd *cobra.Command, from []string) (*doctor.Site, error) {
	addrs, err := foreignAddresses(from)
	if err != nil {
		return nil, err
	}
	cfg, err := s.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	m, err := netenv.NewMirror(cmd.Context(), newLogger(cmd.ErrOrStderr(), s.verbose), nil)
	if err != nil {
		return nil, fmt.Errorf("read the network: %w", err)
	}
	machine := netenv.NewMachine(m)
	p, err := plan.New(cfg, machine)
	if err != nil {
		return nil, fmt.Errorf("the configuration does not fit this machine: %w", err)
	}
	g := &cfg.Global
	return &doctor.Site{
		Plan: p, Network: machine, From: addrs,
		Says: doctor.Says{Announce: g.Announce, Sysctls: g.Firewall.Sysctls, MaxConn: g.MaxConn, ReceiveBuffer: g.ReceiveBuffer, Recall: g.Recall},
	}, nil
}

// foreignAddresses reads --from. A family that is not given has its default.
func foreignAddresses(words []string) (list []netip.Addr, err error) {
	given := map[bool]bool{}
	for _, w := range words {
		a, err := netip.ParseAddr(w)
		if err != nil || a.Zone() != "" || !a.IsGlobalUnicast() {
			return nil, fmt.Errorf("--from: expected the address of a possible client, found %q", w)
		}
		a = a.Unmap()
		if given[a.Is4()] {
			return nil, fmt.Errorf("--from: %s is the second address of its family", w)
		}
		given[a.Is4()] = true
		list = append(list, a)
	}
	for _, a := range doctor.DefaultFrom {
		if !given[a.Is4()] {
			list = append(list, a)
		}
	}
	return list, nil
}

// writeFinding writes a finding, with what it means and what mends it below.
func writeFinding(w io.Writer, f *doctor.Finding) {
	grade := f.Grade.String()
	if f.Grade == doctor.Fault {
		grade = strings.ToUpper(grade)
	}
	subject := ""
	if f.Subject != "" {
		subject = f.Subject + ": "
	}
	fmt.Fprintf(w, "%-8s %-12s %s%s\n", grade, f.Area, subject, f.Found)
	for _, more := range []struct{ name, text string }{{"means", f.Means}, {"mend", f.Mend}} {
		if more.text != "" {
			fmt.Fprintf(w, "%-22s%-6s %s\n", "", more.name, more.text)
		}
	}
}

// summary counts the findings.
func summary(r *doctor.Report) string {
	var parts []string
	for g := doctor.Fault; ; g-- {
		if n := r.Count(g); n > 0 {
			word := g.String()
			if n > 1 && g != doctor.Good { // "3 ok", but "3 notes"
				word += "s"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
		if g == doctor.Good {
			return strings.Join(parts, ", ")
		}
	}
}
