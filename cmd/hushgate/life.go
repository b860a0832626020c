package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hushgate/internal/config"
	"hushgate/internal/console"
	"hushgate/internal/gateway"
	"hushgate/internal/logqueue"
)

func newReloadCommand() *cobra.Command {
	return newActionCommand(console.Reload, &cobra.Command{
		Use: "reload", Short: "Make the running gateway read its configuration again",
		Long: "Make the gateway that runs in this network namespace read its configuration again. Open connections are\n" +
			"kept. A configuration that has an error, or that changes what only an upgrade can change, is refused as a\n" +
			"whole: the previous one stays in force, and the exit status is 1.",
	})
}

func newUpgradeCommand() *cobra.Command {
	return newActionCommand(console.Upgrade, &cobra.Command{
		Use: "upgrade", Short: "Make the running gateway start its program again and hand over all connections",
		Long: "Make the gateway that runs in this network namespace start its program again, with the same arguments and the\n" +
			"present configuration. The program may have been replaced by another release, or settings that a reload cannot\n" +
			"change may have changed. The new process takes over all connections without interruption (`run --takeover`), and\n" +
			"the old one ends. If the takeover fails, the old process continues, and the exit status is 1; the log says why.",
	})
}

// newActionCommand completes a command that has the gateway act as a whole.
func newActionCommand(action console.Action, cmd *cobra.Command) *cobra.Command {
	var a apiFlags
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.connect().Act(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), a.json, action)
	}
	a.flags(cmd)
	return cmd
}

func newFailCommand() *cobra.Command {
	var s configFlags
	var as string
	cmd := &cobra.Command{
		Use: "fail [-f FILE]", Short: "Install the firewall rules for the time without a gateway",
		Long: "Install the firewall rules for the time when `run` does not run, for example after a crash: with `fail: open`\n" +
			"rules that forward clients to the servers without any test, with `fail: closed` rules that keep clients out until\n" +
			"the next start. While a gateway runs, the command fails and does nothing. A service manager runs it when the gateway\n" +
			"has ended (systemd: ExecStopPost=). With --as off it removes all rules of hushgate, which it finds by the names\n" +
			"of their chains, and the kernel's set of offenders; it needs no configuration, interface or route.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if as == "" && os.Getenv("SERVICE_RESULT") == "success" { // systemd.exec(5); `run` has already cleaned up
				return nil
			}
			return service(cmd, func(messages *logqueue.Queue) error { return s.fail(cmd.Context(), as, messages) })
		},
	}
	s.flags(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if as == "off" && len(args) == 0 {
			return nil
		}
		return s.fileArgument(cmd, args)
	}
	cmd.Flags().StringVar(&as, "as", "", "open or closed, whatever the configuration says, or off: remove all rules")
	return cmd
}

// fail installs or removes the rules for the time without a gateway, as the configuration says or, if as is not empty, as
// says.
func (s *configFlags) fail(ctx context.Context, as string, messages io.Writer) error {
	log := newLogger(messages, s.verbose)
	if as == "off" {
		return s.takeRulesAway(ctx, messages, log)
	}
	cfg, err := s.load(messages)
	if err != nil {
		return err
	}
	switch as {
	case "":
	case "open", "closed":
		cfg.Global.Fail = config.Fail(as)
	default:
		return fmt.Errorf("--as %s: expected open, closed or off", as)
	}
	return gateway.Fail(ctx, cfg, log)
}

// takeRulesAway removes all rules of hushgate, unless the configuration says that hushgate does not manage them. It also
// removes them if there is no configuration, or one with errors.
func (s *configFlags) takeRulesAway(ctx context.Context, messages io.Writer, log *slog.Logger) error {
	if s.file != "" {
		if cfg, err := s.load(messages); err == nil && !cfg.Global.Firewall.Manage {
			return gateway.ErrNotManaged
		}
	}
	return gateway.RemoveRules(ctx, log)
}
