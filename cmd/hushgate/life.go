package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hushgate/internal/config"
	"hushgate/internal/gateway"
	"hushgate/internal/instance"
	"hushgate/internal/logqueue"
)

func newReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Have the running gateway read its configuration anew", Args: cobra.NoArgs,
		Long: "Have the gateway that runs in this network namespace read its configuration anew. Standing connections are\n" +
			"not touched. A configuration with an error in it, or that changes what only an upgrade can change, is\n" +
			"refused whole: the one before stays in force, and the exit status is 1.",
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, "reload") },
	}
}

func newUpgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upgrade", Short: "Have the running gateway start its program anew, and hand all connections over", Args: cobra.NoArgs,
		Long: "Have the gateway that runs in this network namespace start its program anew, with the same arguments and the\n" +
			"configuration as it is now: it may have been replaced by another release, or what a reload cannot change may\n" +
			"have changed. The new process takes over all connections (`run --takeover`), which do not notice, and the old\n" +
			"one ends. If the new one cannot, the old one goes on, and the exit status is 1; the log says why.",
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd, "upgrade") },
	}
}

// ask has the running gateway carry out a command, and prints its warnings.
func ask(cmd *cobra.Command, command string) error {
	a, err := instance.Ask(cmd.Context(), command)
	if err != nil {
		return err
	}
	for _, w := range a.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), w)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

func newFailCommand() *cobra.Command {
	var s source
	var as string
	cmd := &cobra.Command{
		Use: "fail [-f FILE]", Short: "Do what the configuration says for when there is no gateway",
		Long: "Install the firewall rules that are meant for when `run` is not there, as after a crash: with `fail: open`\n" +
			"those that hand clients to the servers without any test, with `fail: closed` those that keep them out till\n" +
			"the next start. While a gateway runs it does nothing and fails. A service manager runs it when the gateway\n" +
			"has ended (systemd: ExecStopPost=). With --as off all rules of hushgate are taken away, by the names of their\n" +
			"chains: it needs no configuration, and no interface or route.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if as == "" && os.Getenv("SERVICE_RESULT") == "success" { // systemd.exec(5); `run` has left all in order
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
	cmd.Flags().StringVar(&as, "as", "", "open or closed, whatever the configuration says, or off: take all rules away")
	return cmd
}

// fail does what is to be done when there is no gateway: what the configuration says, unless as says otherwise.
func (s *source) fail(ctx context.Context, as string, messages io.Writer) error {
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

// takeRulesAway takes all rules of hushgate away, unless the configuration says that they are not hushgate's to change. If
// there is none, or one with errors in it, they are.
func (s *source) takeRulesAway(ctx context.Context, messages io.Writer, log *slog.Logger) error {
	if s.file != "" {
		if cfg, err := s.load(messages); err == nil && !cfg.Global.Firewall.Manage {
			return gateway.ErrNotManaged
		}
	}
	return gateway.RemoveRules(ctx, log)
}
