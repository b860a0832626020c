package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hushgate/internal/console"
)

// exitError ends a command with a certain exit status. Its error, if it has one, is reported.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }

func (e *exitError) Unwrap() error {
	if e.err == nil {
		return errReported
	}
	return e.err
}

// apiFlags are the flags of every command that asks the control API.
type apiFlags struct {
	socket string
	json   bool
}

func (a *apiFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.socket, "socket", "", "`PATH` of the control API's socket (default: the gateway of this network namespace)")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

func (a *apiFlags) connect() *console.Client { return console.Connect(a.socket) }

func newStatusCommand() *cobra.Command {
	var a apiFlags
	var wait, check bool
	var timeout time.Duration
	limits := console.UsualThresholds
	cmd := &cobra.Command{
		Use: "status", Short: "Show how the running gateway is",
		Args: func(cmd *cobra.Command, args []string) error { return unknownIf(cobra.NoArgs(cmd, args)) },
		Long: "Show the running gateway on one screen: whether it is well, and if not why, its connections, interfaces, losses, logs,\n" +
			"frontends and servers. With --check it prints one line as plugins of Nagios do, with performance data, and the exit\n" +
			"status is 0 (OK), 1 (warning), 2 (critical: also if no gateway runs) or 3 (unknown: it may not be asked, or does not\n" +
			"answer). With --wait-ready it prints nothing, and waits until the gateway accepts new connections and a server takes\n" +
			"them; the exit status is 1 if that does not come about in time.",
		Example: "  hushgate status --check --warning-servers 2 --critical-connections 90\n" +
			"  hushgate status --wait-ready --timeout 1m && echo 'mail flows'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := limits.Check()
			switch {
			case err != nil:
			case timeout <= 0:
				err = fmt.Errorf("--timeout: expected more than 0, found %v", timeout)
			case check && (wait || a.json) || wait && a.json:
				err = errors.New("expected one of --check, --wait-ready and --json, found more")
			}
			if err != nil {
				if check { // monitoring shows what is on standard output alone
					fmt.Fprintf(cmd.OutOrStdout(), "HUSHGATE UNKNOWN - %v\n", err)
				}
				return unknownIf(err)
			}
			if !wait && !check {
				return a.connect().Status(cmd.Context(), cmd.OutOrStdout(), a.json, screenOf(cmd.OutOrStdout()))
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %v", timeout))
			defer cancel()
			if wait {
				return a.connect().WaitReady(ctx)
			}
			if grade := a.connect().Check(ctx, cmd.OutOrStdout(), &limits); grade != console.OK {
				return &exitError{status: int(grade)}
			}
			return nil
		},
	}
	a.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&wait, "wait-ready", false, "wait until the gateway is ready")
	f.BoolVar(&check, "check", false, "print one line for Nagios and its like")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long --wait-ready and --check may take")
	f.IntVar(&limits.WarnConns, "warning-connections", limits.WarnConns, "warn at this `PERCENT` of maxconn")
	f.IntVar(&limits.AlarmConns, "critical-connections", limits.AlarmConns, "critical at this `PERCENT` of maxconn")
	f.IntVar(&limits.WarnServers, "warning-servers", limits.WarnServers, "warn if fewer than `N` servers take new connections (default: all)")
	f.IntVar(&limits.AlarmServers, "critical-servers", limits.AlarmServers, "critical if fewer than `N` servers take new connections")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unknownIf(err) })
	return cmd
}

// screenOf returns the size of the terminal that is written to, without the line of the prompt. What is no terminal has no bounds.
func screenOf(w io.Writer) console.Screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return console.Screen{}
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 1 { // a serial line does not know
		width, height = 80, 24
	}
	return console.Screen{Width: width, Height: height - 1}
}

// unknownIf gives an error the exit status by which Nagios knows that nothing was found out: 1 would be a warning.
func unknownIf(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{int(console.Unknown), err}
}

// exitStatus is the exit status that an error of a command asks for.
func exitStatus(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.status
	}
	return 1
}
