package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hushgate/internal/config"
	"hushgate/internal/gateway"
	"hushgate/internal/logqueue"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/privilege"
)

// configFlags holds the flags that all commands with a configuration share.
type configFlags struct {
	file            string
	outside, inside []string
	verbose         bool
}

func (s *configFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.file, "file", "f", "", "configuration in HAProxy's syntax or, if named *.yaml, in hushgate's own; -f may be left out")
	f.StringSliceVar(&s.outside, "outside", nil, "interface towards the clients (default: found from the addresses and routes)")
	f.StringSliceVar(&s.inside, "inside", nil, "interface towards the servers (default: found from the routes)")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "log more details")
	_ = cmd.MarkFlagFilename("file", "cfg", "yaml", "yml")
	cmd.Args = s.fileArgument
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"cfg", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// fileArgument also accepts the configuration as an argument without -f.
func (s *configFlags) fileArgument(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("expected one configuration, found %d: %s", len(args), strings.Join(args, " "))
	case len(args) == 1 && s.file != "":
		return fmt.Errorf("expected one configuration, found two: %s after -f, and %s", s.file, args[0])
	case len(args) == 1:
		s.file = args[0]
	}
	if s.file == "" {
		return fmt.Errorf("expected a configuration: %s -f FILE", cmd.CommandPath())
	}
	return nil
}

// load reads the configuration and writes its errors and warnings to w.
func (s *configFlags) load(w io.Writer) (*config.Config, error) {
	cfg, _, err := s.loadWarned(w)
	return cfg, err
}

// loadWarned is load, and also returns the warnings.
func (s *configFlags) loadWarned(w io.Writer) (*config.Config, []string, error) {
	cfg, warnings, err := s.read()
	for _, line := range warnings {
		fmt.Fprintln(w, line)
	}
	if err != nil {
		fmt.Fprintln(w, err)
		return nil, nil, errReported
	}
	return cfg, warnings, nil
}

// read reads the configuration, and returns its warnings as lines.
func (s *configFlags) read() (*config.Config, []string, error) {
	cfg, warnings, err := config.Load(s.file)
	var lines []string
	for _, n := range warnings {
		kind := "warning"
		if n.Note {
			kind = "note"
		}
		if n.Line > 0 {
			lines = append(lines, fmt.Sprintf("%s:%d: %s: %s", s.file, n.Line, kind, n.Text))
		} else {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", s.file, kind, n.Text))
		}
	}
	if err != nil {
		return nil, lines, err
	}
	if len(s.outside) > 0 {
		cfg.Global.Outside = s.outside
	}
	if len(s.inside) > 0 {
		cfg.Global.Inside = s.inside
	}
	return cfg, lines, nil
}

func newRunCommand() *cobra.Command {
	var s configFlags
	var user string
	var takeOver bool
	cmd := &cobra.Command{
		Use: "run -f FILE", Short: "Run the gateway",
		Long: "Run the gateway in the foreground until SIGTERM or SIGINT. It checks everything before it changes\n" +
			"anything. When asked to end, it accepts no new connections, answers 421 to waiting clients, gives mail in flight the\n" +
			"time hard-stop-after, and removes its firewall rules. When asked again, it ends at once. SIGHUP reloads the\n" +
			"configuration, as `hushgate reload` does. Of the capabilities it keeps CAP_NET_ADMIN and CAP_NET_RAW.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			signals := gateway.CatchSignals(cmd.Context())
			return service(cmd, func(messages *logqueue.Queue) error {
				cfg, warnings, err := s.loadWarned(messages)
				if err != nil {
					return err
				}
				if err := privilege.Drop(user); err != nil {
					return err
				}
				return gateway.Run(signals, gateway.Options{
					Config: cfg, Load: s.read, Log: newLogger(messages, s.verbose), Messages: messages, TakeOver: takeOver,
					Program: successor(), Version: versionString(), Warnings: warnings,
				})
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&takeOver, "takeover", false, "take over the connections of the gateway that runs here, if there is one; that gateway ends")
	cmd.Flags().StringVar(&user, "user", "", "run as this user, who must be able to read the configuration (default: the user who starts it)")
	return cmd
}

// successor returns the command of the process that takes over from this one: the file from which this program was started,
// which may be another release by then, with the same arguments.
func successor() []string {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	args := slices.Clone(os.Args[1:])
	if !slices.Contains(args, "--takeover") {
		args = append(args, "--takeover")
	}
	return append([]string{program}, args...)
}

// plan works out what a configuration means on this machine.
func (s *configFlags) plan(cmd *cobra.Command) (*plan.Plan, error) {
	cfg, err := s.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	m, err := netenv.NewMirror(cmd.Context(), newLogger(cmd.ErrOrStderr(), s.verbose), nil)
	if err != nil {
		return nil, fmt.Errorf("read the network: %w", err)
	}
	return plan.New(cfg, netenv.NewMachine(m))
}

func newCheckCommand() *cobra.Command {
	var s configFlags
	var offline bool
	cmd := &cobra.Command{
		Use: "check -f FILE", Short: "Check a configuration, and whether it fits this machine",
		Long: "Check a configuration and report all of its errors at once, then check whether it fits this machine's\n" +
			"interfaces and routes, and check each server once. Nothing is changed. The exit status is 1 if `run` would not start.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offline {
				if _, err := s.load(cmd.ErrOrStderr()); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "configuration is valid")
				return nil
			}
			p, err := s.plan(cmd)
			if err != nil && !errors.Is(err, errReported) {
				return fmt.Errorf("the file is valid but does not fit this machine: %w (--offline checks only the file)", err)
			}
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for _, r := range p.Chosen.Reasons {
				fmt.Fprintln(out, r)
			}
			for _, s := range p.Sources {
				fmt.Fprintln(out, s)
			}
			for _, a := range p.Chosen.Services {
				fmt.Fprintln(out, "service", a)
			}
			warnings := p.Warnings
			if p.Managed {
				more, err := gateway.CheckFirewall(cmd.Context(), p)
				if err != nil {
					return err
				}
				warnings = append(warnings, more...)
			}
			more, notes := gateway.Look(cmd.Context(), p)
			for _, w := range append(warnings, more...) {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			for _, n := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
			}
			if p.Routed {
				fmt.Fprintln(out, "this machine cannot check whether the servers' answers to clients come back through it: it must be their "+
					"default gateway, or they need what `hushgate rules --for-server` prints")
			}
			fmt.Fprintln(out, "configuration is valid")
			return nil
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "check only the file, not this machine")
	return cmd
}
